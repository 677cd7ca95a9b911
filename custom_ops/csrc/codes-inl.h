// Numbers of a format, held as float32, to its codes and back.
#pragma once

#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// Codes of lanes that hold numbers of the format already. Only numbers of 8 exponent bits are
// stored as they are: the others have another bias, and subnormal numbers that float32 holds as
// normal ones.
inline Word encode_lanes(const Plan& plan, Word bits) {
  const Word sign = bits & kSign;
  const Word magnitude = bits ^ sign;
  const Word significand = (magnitude & (kImplicitBit - 1)) | kImplicitBit;
  const Word exponent = magnitude >> kMantissaBits;
  const Word shift = smaller_of(all(plan.subnormal_shift) - exponent, all(31));
  const Word special = all(plan.special_code) | ((magnitude >> plan.dropped) & plan.payload_mask);

  Word code = (magnitude - plan.rebias) >> plan.dropped;
  if (plan.rebias != 0) {
    const Word subnormal = greater(magnitude, Word{}) ? significand >> (shift & 31) : Word{};
    code = greater(all(plan.smallest_normal), magnitude) ? subnormal : code;
  }
  code = greater(all(kInfinity), magnitude) ? code : special;
  return code | (sign >> plan.sign_shift);
}

inline Word decode_lanes(const Plan& plan, Word code) {
  const Word sign = (code << plan.sign_shift) & kSign;
  const Word magnitude = code ^ (sign >> plan.sign_shift);
  const Word payload = (magnitude & plan.payload_mask) << plan.dropped;
  const Word nan = payload | kQuietNan;
  const bool has_infinity = plan.payload_mask != 0;

  Word bits = (magnitude << plan.dropped) + plan.rebias;
  if (plan.rebias != 0) {
    const Word units = bits_of(convert<Lanes<float>>((Int)magnitude));  // exact: few bits
    const Word subnormal = units + plan.smallest - (uint32_t{kExponentBias} << kMantissaBits);
    bits = greater(all(plan.smallest_normal), bits) ? subnormal : bits;
    bits = greater(magnitude, Word{}) ? bits : Word{};
  }
  bits = greater(all(plan.special_code), magnitude) ? bits : nan;
  if (has_infinity) {
    const Word infinity = all(kInfinity);
    bits = magnitude == all(plan.special_code) ? infinity : bits;
  }
  return bits | sign;
}

template <class Code>
void encode(const Plan& plan, const float* in, Code* codes, int64_t count) {
  const auto body = [&](int64_t i) {
    store(codes + i, convert<Lanes<Code>>(encode_lanes(plan, load<Word>(in + i))));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    float padded[kLanes] = {};
    Code result[kLanes];
    __builtin_memcpy(padded, in + i, static_cast<size_t>(rest) * sizeof(float));
    store(result, convert<Lanes<Code>>(encode_lanes(plan, load<Word>(padded))));
    __builtin_memcpy(codes + i, result, static_cast<size_t>(rest) * sizeof(Code));
  };
  for_lanes(count, body, tail);
}

template <class Code>
void decode(const Plan& plan, const Code* codes, float* out, int64_t count) {
  const auto body = [&](int64_t i) {
    store(out + i, decode_lanes(plan, convert<Word>(load<Lanes<Code>>(codes + i))));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    Code padded[kLanes] = {};
    float result[kLanes];
    __builtin_memcpy(padded, codes + i, static_cast<size_t>(rest) * sizeof(Code));
    store(result, decode_lanes(plan, convert<Word>(load<Lanes<Code>>(padded))));
    __builtin_memcpy(out + i, result, static_cast<size_t>(rest) * sizeof(float));
  };
  for_lanes(count, body, tail);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET
