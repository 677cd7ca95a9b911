// Rounding and updates that are measured while they are in the cache.
#include <algorithm>

#include "float_environment.h"
#include "instruction_sets.h"

namespace onnxbf {
namespace {

// Calls body(i, size, tile) for the tiles of [0, count).
template <class Tile, class Body>
void for_tiles(int64_t count, Tile* tiles, const Body& body) {
  for (int64_t i = 0; i < count; i += kTile) body(i, std::min(kTile, count - i), tiles + i / kTile);
}

}  // namespace

void observe_rounding(const Kernels& kernels, const CastSpec& spec, const RandomKey& key,
                      const float* in, float* out, int64_t begin, int64_t end,
                      RoundingTile* tiles) {
  const FloatEnvironment standard(false);
  const Plan plan = make_plan(spec);
  const MeasureRounding measure = kernels.measure_rounding[round_kernel(spec)];
  for_tiles(end - begin, tiles, [&](int64_t i, int64_t size, RoundingTile* tile) {
    measure(plan, key, in + i, out + i, begin + i, begin + i + size, tile);
  });
}

void observe_update(const Kernels& kernels, const CastSpec& spec, const float* update,
                    const float* before, const float* after, int64_t begin, int64_t end,
                    UpdateTile* tiles) {
  const FloatEnvironment standard(false);
  const Plan plan = make_plan(spec);
  const RoundFunction round = kernels.round[round_kernel(spec)];
  const RandomKey key{};
  alignas(64) float was[kTile], is[kTile];
  for_tiles(end - begin, tiles, [&](int64_t i, int64_t size, UpdateTile* tile) {
    round(plan, key, before + i, was, begin + i, begin + i + size, false);
    round(plan, key, after + i, is, begin + i, begin + i + size, false);
    kernels.measure_update(update + i, before + i, after + i, was, is, size, tile);
  });
}

void add_up(const RoundingTile* tiles, int64_t count, double* fields) {
  const FloatEnvironment standard(false);
  std::fill_n(fields, kRoundingFields, 0.0);
  fields[0] = static_cast<double>(count);
  for (int64_t i = 0; i < tiles_of(count); ++i) {
    const RoundingTile& tile = tiles[i];
    fields[1] += tile.overflow;
    fields[2] += tile.saturated;
    fields[3] += tile.underflow;
    fields[4] += tile.nan;
    fields[5] += tile.signal;
    fields[6] += tile.noise;
  }
}

void add_up(const UpdateTile* tiles, int64_t count, double* fields) {
  const FloatEnvironment standard(false);
  std::fill_n(fields, kUpdateFields, 0.0);
  fields[0] = static_cast<double>(count);
  for (int64_t i = 0; i < tiles_of(count); ++i) {
    fields[1] += tiles[i].updated;
    fields[2] += tiles[i].swallowed;
    fields[3] += tiles[i].unseen;
    fields[4] += tiles[i].descent;
    fields[5] += tiles[i].intended;
  }
}

void observe_rounding(const CastSpec& spec, const RandomKey& key, const float* in, float* out,
                      int64_t begin, int64_t end, RoundingTile* tiles) {
  observe_rounding(chosen_kernels(), spec, key, in, out, begin, end, tiles);
}

void observe_update(const CastSpec& spec, const float* update, const float* before,
                    const float* after, int64_t begin, int64_t end, UpdateTile* tiles) {
  observe_update(chosen_kernels(), spec, update, before, after, begin, end, tiles);
}

}  // namespace onnxbf
