#include "ops/cast_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// How many weights an update left as they were, and how many of their rounded copies.
class ObserveUpdate {
 public:
  static constexpr const char* kName = "ObserveUpdate";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kFloat}, {ort::kFloat}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kDouble}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference& node) {
    node.output_vector(0, ort::kDouble, kUpdateFields);
  }

  explicit ObserveUpdate(const ort::KernelAttributes& node) : cast_(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor update = context.input(0), before = context.input(1);
    const ort::Tensor after = context.input(2);
    if (update.shape != before.shape || after.shape != before.shape) {
      throw ort::Error("inputs 'update', 'before' and 'after' must be of one shape.");
    }
    auto* fields = static_cast<double*>(context.output(0, ort::kDouble, {kUpdateFields}));
    std::vector<UpdateTile> tiles(static_cast<size_t>(tiles_of(before.count)));
    const auto at = [](const ort::Tensor& tensor, int64_t begin) {
      return static_cast<const float*>(tensor.data) + begin;
    };
    context.parallel(before.count, [&](int64_t begin, int64_t end) {
      observe_update(cast_.spec, at(update, begin), at(before, begin), at(after, begin), begin,
                     end, tiles.data() + begin / kTile);
    });
    add_up(tiles.data(), before.count, fields);
  }

 private:
  CastAttributes cast_;
};

}  // namespace

const ort::CustomOp* observe_update_operator(const ort::Api& api) {
  static const ort::OperatorOf<ObserveUpdate> op(api);
  return &op;
}

}  // namespace onnxbf
