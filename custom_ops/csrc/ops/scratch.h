// Memory that a kernel keeps from run to run: fresh memory costs more than what is computed in it.
#pragma once

#include <cstddef>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace onnxbf {

class ScratchPool {
 public:
  // Some floats for as long as it lives, uninitialized and aligned to 64 bytes.
  class Lease {
   public:
    Lease(ScratchPool& pool, size_t count) : pool_(pool), block_(pool.take(count)) {}
    ~Lease() { pool_.give_back(block_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    float* data() const { return block_.data; }

   private:
    friend class ScratchPool;
    ScratchPool& pool_;
    struct Block {
      float* data;
      size_t count;
    } block_;
  };

  ScratchPool() = default;
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;
  ~ScratchPool() {
    for (const Lease::Block& block : free_) release(block);
  }

 private:
  static constexpr std::align_val_t kAlignment{64};

  static void release(const Lease::Block& block) { operator delete(block.data, kAlignment); }

  // A block that is free and large enough; one that is too small makes room for a larger one.
  Lease::Block take(size_t count) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        const Lease::Block block = free_.back();
        free_.pop_back();
        if (block.count >= count) return block;
        release(block);
      }
      free_.reserve(free_.size() + ++taken_);  // giving back must not throw
    }
    return {static_cast<float*>(operator new(count * sizeof(float), kAlignment)), count};
  }

  void give_back(const Lease::Block& block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(block);
  }

  std::mutex mutex_;
  std::vector<Lease::Block> free_;
  size_t taken_ = 0;
};

}  // namespace onnxbf
