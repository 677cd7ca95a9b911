// Philox4x32-7: four random words from a counter of four words and a key of two, in seven rounds of
// multiplying and mixing (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011).
//
// Few roundings depend on more than the upper half of an element's word, so that the halves come from
// counters of their own, and the lower ones are worked out only where they matter.
//
// A word travels in the lower half of a 64-bit lane, what stands in the upper half is ignored. So
// a product needs no taking apart: its lower half is one result, its upper half the other.
#pragma once

#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kBlock = 128;    // neighbours whose upper halves share counters
constexpr int64_t kCounters = 16;  // of a block, for upper halves, and as many for lower ones
constexpr int64_t kBatch = 256;    // words worked out at a time: two blocks
constexpr int64_t kGroup = kChains * kWideLanes;  // counters that are mixed at a time
constexpr int kRounds = 7;
constexpr uint32_t kUpperHalf = 0xFFFF0000;
static_assert(kBatch / 8 % kGroup == 0 && kChains % 2 == 0, "groups fill a batch, in pairs");
static_assert(kCounters % kGroup == 0 || kBatch / 8 == kGroup, "groups keep to blocks, or take all");

// The counter for upper halves behind `index`, which counts such counters alone.
constexpr int64_t counter_at(int64_t index) {
  return index / kCounters * 2 * kCounters + index % kCounters;
}

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
        const int64_t index = n / 2 * 2 * kWideLanes + 2 * lane + n % 2;
        counters[lane] = static_cast<uint64_t>(counter_at(index));
      }
      counters_[n] = load<Wide>(counters);
    }
  }

  // The upper halves of the words of the elements [256 batch, 256 batch + 256), above zeros.
  // Within a block of 128, word w of counter 32 block + c serves elements 16 w + c, by its upper
  // half, and 64 + 16 w + c, by its lower one.
  void fill_upper(int64_t batch, uint32_t words[kBatch]) const {
    fill(batch, 0, [&](int64_t index, Word word) {
      uint32_t* to = words + index;
      store(to, word & kUpperHalf);
      store(to + kBlock / 2, word << 16);
    });
  }

  // Their lower halves, below: the same, of counter 32 block + 16 + c.
  void fill_lower(int64_t batch, uint32_t words[kBatch]) const {
    fill(batch, kCounters, [&](int64_t index, Word word) {
      uint32_t* to = words + index;
      store(to, load<Word>(to) | (word >> 16));
      store(to + kBlock / 2, load<Word>(to + kBlock / 2) | (word & ~kUpperHalf));
    });
  }

 private:
  // Calls put(index, word) for the words of a batch's counters, where `index` is 16 w + c, and
  // another block's 128 more.
  template <class Put>
  void fill(int64_t batch, int64_t offset, const Put& put) const {
    const int64_t first = batch * (kBatch / 4) + offset;
    for (int64_t group = 0; group < kBatch / 8; group += kGroup) {
      Chains chains;
      start(chains, static_cast<uint64_t>(first + counter_at(group)));
      mix(chains);
      write(chains, group, put);
    }
  }

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

  template <class Put>
  static void write(const Chains& chains, int64_t group, const Put& put) {
    ONNXBF_UNROLL
    for (int n = 0; n < kChains; n += 2) {
      const int64_t counter = group + n * kWideLanes;
      const int64_t place = counter / kCounters * kBlock + counter % kCounters;
      ONNXBF_UNROLL
      for (int w = 0; w < 4; ++w) {
        const Wide both = interleave(chains[n][w], chains[n + 1][w]);
        Word words[sizeof both / sizeof(Word)];
        __builtin_memcpy(words, &both, sizeof both);
        for (size_t part = 0; part < sizeof both / sizeof(Word); ++part) {
          put(place + w * kCounters + static_cast<int64_t>(part) * kLanes, words[part]);
        }
      }
    }
  }

  Wide keys_[kRounds][2];
  Wide node_, step_;
  Wide counters_[kChains];  // those of each chain, of the first group
};

// A batch of words, of which the lower halves are worked out once they are asked for.
class RandomBatch {
 public:
  explicit RandomBatch(const RandomKey& key) : philox_(key) {}

  void begin(int64_t batch) {
    philox_.fill_upper(batch, words_);
    batch_ = batch;
    whole_ = false;
  }

  const uint32_t* upper() const { return words_; }

  // Seldom called: to inline it would take registers from loops that do not.
  __attribute__((noinline)) const uint32_t* whole() {
    if (!whole_) philox_.fill_lower(batch_, words_);
    whole_ = true;
    return words_;
  }

 private:
  Philox philox_;
  alignas(64) uint32_t words_[kBatch + kLanes] = {};  // whole vectors from any element on
  int64_t batch_ = 0;
  bool whole_ = false;
};

// The words from one element of a batch on: their upper halves at least, and whole ones.
struct RandomWords {
  Word upper(int64_t i) const { return load<Word>(batch->upper() + first + i); }
  Word whole(int64_t i) const { return load<Word>(batch->whole() + first + i); }

  RandomBatch* batch;
  int64_t first;
};

// Calls body(i, count, words) for the pieces [i, i + count) of [begin, end) that a batch serves.
template <class Body>
inline void for_random(const RandomKey& key, int64_t begin, int64_t end, const Body& body) {
  RandomBatch batch(key);
  for (int64_t i = begin; i < end;) {
    const int64_t within = i % kBatch;
    const int64_t count = end - i < kBatch - within ? end - i : kBatch - within;
    batch.begin(i / kBatch);
    body(i, count, RandomWords{&batch, within});
    i += count;
  }
}

void random_words(const RandomKey& key, uint32_t* to, int64_t begin, int64_t end) {
  for_random(key, begin, end, [&](int64_t i, int64_t count, const RandomWords& words) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(uint32_t);
    __builtin_memcpy(to + (i - begin), words.batch->whole() + words.first, bytes);
  });
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET
