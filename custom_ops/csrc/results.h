// From the sums of tiles to the results of a product in memory: rounded, scaled, added to, put in their places.
#pragma once

#include "block_sums.h"
#include "casts.h"
#include "epilogue.h"
#include "gemm.h"

namespace onnxbf {

class Results {
 public:
  Results(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product);

  // What a block will read and write beside its sums, which has to come from memory, too.
  void ask_ahead(const Block& block, Ahead& ahead) const;
  // From sums, which may be written to, to results. What stands beyond columns is rounded, too. `largest`:
  // magnitude of the sums, if that is known, else above kInfinity. The caller has set the floating-point environment.
  void finish(const Block& block, float* sums, uint32_t largest) const;

 private:
  bool is_in_order() const {
    return product_.places.empty() && product_.out_column_stride == 1;
  }
  bool stores_rows() const;
  Epilogue::Part part(const Block& block) const;
  void put(const float* results, int64_t first, int64_t count, float* row) const;
  void scale(float* results, int64_t batch, int64_t row, int64_t first_column,
             int64_t columns) const;

  const TileKernels& tiles_;
  const Product& product_;
  Casts sums_cast_, result_cast_;  // before and after what is added
  Casts both_casts_;               // one after the other
  bool flushes_;                   // there are no subnormal sums
};

}  // namespace onnxbf
