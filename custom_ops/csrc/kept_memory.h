// Memory that kernels keep from run to run: of a product of 1024 x 1024 matrices, fresh pages for packed factors
// took 15 % of the time.
#pragma once

#include <cstddef>

namespace onnxbf {

// Some floats for as long as it lives, uninitialized and aligned to 64 bytes. Any number of threads may take
// some at a time; what they leave is kept for all.
class KeptMemory {
 public:
  explicit KeptMemory(size_t count);
  ~KeptMemory();
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  float* data() const { return block_.data; }

  struct Block {
    float* data;
    size_t bytes;
  };

 private:
  Block block_;
};

}  // namespace onnxbf
