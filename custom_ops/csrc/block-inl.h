// The loops of block.h, over lanes.
#pragma once

#include "block.h"
#include "elementwise-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

inline Word largest_lanes(const float* x, int64_t count) {
  Word most{};
  const auto body = [&](int64_t i) { most = larger_of(most, load<Word>(x + i) & ~kSign); };
  const auto tail = [&](int64_t i, int64_t rest) {
    most = larger_of(most, bits_of(load_some(x + i, rest)) & ~kSign);
  };
  for_lanes(count, body, tail);
  return most;
}

uint32_t largest_of(const float* x, int64_t count) {
  return largest_lane(largest_lanes(x, count));
}

void larger_columns(const float* x, uint32_t* magnitudes, int64_t count) {
  const auto body = [&](int64_t i) {
    store(magnitudes + i, larger_of(load<Word>(magnitudes + i), load<Word>(x + i) & ~kSign));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    for (int64_t last = i; last < i + rest; ++last) {
      uint32_t magnitude;
      __builtin_memcpy(&magnitude, x + last, sizeof magnitude);
      magnitude &= ~kSign;
      if (magnitude > magnitudes[last]) magnitudes[last] = magnitude;
    }
  };
  for_lanes(count, body, tail);
}

// The power of two with an exponent field of 0, whose power is subnormal, to 254.
inline Word bits_of_power(Word field) {
  return greater(field, Word{}) ? field << kMantissaBits : all(kImplicitBit >> 1);
}

// What numbers of blocks with these largest magnitudes are multiplied by, before and after.
struct Factors {
  Factors(const BlockScale& scale, Word magnitude) {
    const Word exponent = (magnitude >> kMantissaBits) - static_cast<uint32_t>(scale.max_exponent);
    const Word field = larger_of(exponent, Word{});
    const auto finite = greater(all(kInfinity), magnitude);
    by = float_of(finite ? bits_of_power(2 * kExponentBias - field) : Word{});
    back = float_of(finite ? bits_of_power(field) : all(kQuietNan));
  }
  Float by, back;
};

void factors_of(const BlockScale& scale, const uint32_t* magnitudes, float* by, float* back,
                int64_t count) {
  const auto body = [&](int64_t i) {
    const Factors factors(scale, load<Word>(magnitudes + i));
    store(by + i, factors.by);
    store(back + i, factors.back);
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    for (int64_t last = i; last < i + rest; ++last) {
      const Factors factors(scale, all(magnitudes[last]));
      store_some(by + last, factors.by, 1);
      store_some(back + last, factors.back, 1);
    }
  };
  for_lanes(count, body, tail);
}

inline Float scaled(Float x, Float by, float max) {
  const Float y = x * by, most = spread(max), least = -most;
  const Float below = y < most ? y : most;
  return below > least ? below : least;
}

inline Float restored(Float y, Float back) { return back == back ? y * back : back; }

void scale_columns(const float* x, const float* by, float max, float* out, int64_t count) {
  const auto body = [&](int64_t i) {
    store(out + i, scaled(load<Float>(x + i), load<Float>(by + i), max));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(out + i, scaled(load_some(x + i, rest), load_some(by + i, rest), max), rest);
  };
  for_lanes(count, body, tail);
}

void restore_columns(const float* back, float* out, int64_t count) {
  const auto body = [&](int64_t i) {
    store(out + i, restored(load<Float>(out + i), load<Float>(back + i)));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(out + i, restored(load_some(out + i, rest), load_some(back + i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

void scale_rows(const BlockScale& scale, const float* x, int64_t size, int64_t blocks, float* out,
                float* back) {
  const BlockScale own = scale;  // no store changes it, so it stays in registers
  for (int64_t block = 0; block < blocks; ++block, x += size, out += size) {
    const Factors factors(own, all(largest_of(x, size)));
    const auto body = [&](int64_t i) {
      store(out + i, scaled(load<Float>(x + i), factors.by, own.max));
    };
    const auto tail = [&](int64_t i, int64_t rest) {
      store_some(out + i, scaled(load_some(x + i, rest), factors.by, own.max), rest);
    };
    for_lanes(size, body, tail);
    store_some(back + block, factors.back, 1);
  }
}

void restore_rows(const float* back, int64_t size, int64_t blocks, float* out) {
  for (int64_t block = 0; block < blocks; ++block, out += size) {
    const Float factor = spread(back[block]);
    const auto body = [&](int64_t i) { store(out + i, restored(load<Float>(out + i), factor)); };
    const auto tail = [&](int64_t i, int64_t rest) {
      store_some(out + i, restored(load_some(out + i, rest), factor), rest);
    };
    for_lanes(size, body, tail);
  }
}

constexpr BlockKernels block_kernels = {
    largest_of, scale_rows,    restore_rows,    larger_columns,
    factors_of, scale_columns, restore_columns,
};

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET
