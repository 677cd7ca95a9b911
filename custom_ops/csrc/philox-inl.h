// Philox4x32-10: four random words from a counter of four words and a key of two, in ten rounds of
// multiplying and mixing (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011).
//
// A word travels in the lower half of a 64-bit lane, what stands in the upper half is ignored. So
// a product needs no taking apart: its lower half is one result, its upper half the other.
#pragma once

#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kBlock = 64;     // neighbours that share 16 counters of four words
constexpr int64_t kCounters = 16;  // of a block
constexpr int64_t kBatch = 128;    // words worked out at a time: two blocks
constexpr int64_t kGroup = kChains * kWideLanes;  // counters that are mixed at a time
constexpr int kRounds = 10;
static_assert(kBatch / 4 % kGroup == 0 && kChains % 2 == 0, "groups fill a batch, in pairs");

inline Wide all_wide(uint64_t value) { return Wide{} + value; }

// The words of one tensor. What does not change from counter to counter is worked out once.
class Philox {
 public:
  explicit Philox(const RandomKey& key) : node_(all_wide(key.node)), step_(all_wide(key.step)) {
    uint32_t first = static_cast<uint32_t>(key.seed);
    uint32_t second = static_cast<uint32_t>(key.seed >> 32);
    for (int round = 0; round < kRounds; ++round) {
      keys_[round][0] = all_wide(first);
      keys_[round][1] = all_wide(second);
      first += 0x9E3779B9;
      second += 0xBB67AE85;
    }
    for (int64_t n = 0; n < kChains; ++n) {
      uint64_t counters[kWideLanes];
      for (int64_t lane = 0; lane < kWideLanes; ++lane) {
        counters[lane] = static_cast<uint64_t>(n / 2 * 2 * kWideLanes + 2 * lane + n % 2);
      }
      counters_[n] = load<Wide>(counters);
    }
  }

  // The words of the elements [128 batch, 128 batch + 128). Within a block of 64, word w of counter
  // 16 block + c serves element 16 w + c.
  void fill(int64_t batch, uint32_t words[kBatch]) const {
    const uint64_t first = static_cast<uint64_t>(batch) * (kBatch / 4);
    for (int64_t group = 0; group < kBatch / 4; group += kGroup) {
      Chains chains;
      start(chains, first + static_cast<uint64_t>(group));
      mix(chains);
      write(chains, group, words);
    }
  }

 private:
  // Chains n and n + 1 hold the even and the odd ones of neighbouring counters, so that their words
  // interleave to 64-bit lanes.
  using Chains = Wide[kChains][4];

  void start(Chains& chains, uint64_t first) const {
    ONNXBF_UNROLL
    for (int n = 0; n < kChains; ++n) {
      chains[n][0] = counters_[n] + first;
      chains[n][1] = all_wide(first >> 32);
      chains[n][2] = node_;
      chains[n][3] = step_;
    }
  }

  // A product waits for the one before it: several chains side by side keep the multipliers busy.
  void mix(Chains& chains) const {
    const Wide first = all_wide(0xD2511F53), second = all_wide(0xCD9E8D57);
    ONNXBF_UNROLL
    for (int round = 0; round < kRounds; ++round) {
      ONNXBF_UNROLL
      for (int n = 0; n < kChains; ++n) {
        auto& [c0, c1, c2, c3] = chains[n];
        const Wide product0 = multiply_low(c0, first), product1 = multiply_low(c2, second);
        c0 = upper_half(product1) ^ c1 ^ keys_[round][0];
        c2 = upper_half(product0) ^ c3 ^ keys_[round][1];
        c1 = product1;
        c3 = product0;
      }
    }
  }

  static void write(const Chains& chains, int64_t group, uint32_t words[kBatch]) {
    ONNXBF_UNROLL
    for (int n = 0; n < kChains; n += 2) {
      const int64_t counter = group + n * kWideLanes;
      uint32_t* to = words + counter / kCounters * kBlock + counter % kCounters;
      ONNXBF_UNROLL
      for (int w = 0; w < 4; ++w) {
        store(to + w * kCounters, interleave(chains[n][w], chains[n + 1][w]));
      }
    }
  }

  Wide keys_[kRounds][2];
  Wide node_, step_;
  Wide counters_[kChains];  // those of each chain, of the first group
};

// Calls body(i, count, words) for the pieces [i, i + count) of [begin, end) that a batch of words
// serves.
template <class Body>
inline void for_random(const RandomKey& key, int64_t begin, int64_t end, const Body& body) {
  const Philox philox(key);
  alignas(64) uint32_t words[kBatch];
  for (int64_t i = begin; i < end;) {
    const int64_t within = i % kBatch;
    const int64_t count = end - i < kBatch - within ? end - i : kBatch - within;
    philox.fill(i / kBatch, words);
    body(i, count, words + within);
    i += count;
  }
}

void random_words(const RandomKey& key, uint32_t* words, int64_t begin, int64_t end) {
  for_random(key, begin, end, [&](int64_t i, int64_t count, const uint32_t* random) {
    __builtin_memcpy(words + (i - begin), random, static_cast<size_t>(count) * sizeof(uint32_t));
  });
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET
