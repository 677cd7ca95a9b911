#include "kept_memory.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "sizes.h"

namespace onnxbf {
namespace {

using Block = KeptMemory::Block;

constexpr size_t kLeastKept = size_t{64} << 10;  // bytes of a block: smaller ones malloc keeps
constexpr size_t kMostKept = size_t{64} << 20;   // of all blocks that nobody uses
constexpr size_t kHugePage = size_t{2} << 20, kLine = 64;

// Large blocks are whole huge pages: one page fault, and one entry of the TLB, for 512.
size_t alignment_of(size_t bytes) { return bytes < kHugePage ? kLine : kHugePage; }

size_t block_bytes(size_t count) {
  const size_t bytes = fill_up(count * sizeof(float), kLine);
  return fill_up(bytes, alignment_of(bytes));
}

Block make_block(size_t bytes) {
  const size_t alignment = alignment_of(bytes);
  void* data = operator new(bytes, std::align_val_t(alignment));
#if defined(__linux__)
  if (alignment == kHugePage) madvise(data, bytes, MADV_HUGEPAGE);  // no matter if it is refused
#endif
  return {static_cast<float*>(data), bytes};
}

void release(const Block& block) {
  operator delete(block.data, std::align_val_t(alignment_of(block.bytes)));
}

class Pool {
 public:
  ~Pool() { drop_all_but(0); }

  // The smallest block that is large enough, and not so large that another may want it more.
  Block take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto best = free_.end();
    for (auto block = free_.begin(); block != free_.end(); ++block) {
      const bool fits = block->bytes >= bytes && block->bytes / 4 <= bytes;
      if (fits && (best == free_.end() || block->bytes < best->bytes)) best = block;
    }
    if (best == free_.end()) return make(bytes);
    const Block block = *best;
    free_.erase(best);
    kept_ -= block.bytes;
    return block;
  }

  void give_back(const Block& block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    drop_all_but(kMostKept - std::min(block.bytes, kMostKept));
    free_.push_back(block);
    kept_ += block.bytes;
    if (kept_ > kMostKept) drop_all_but(0);  // it is too large by itself
  }

 private:
  Block make(size_t bytes) {
    free_.reserve(blocks_ + 1);  // giving back must not throw
    const Block block = make_block(bytes);
    ++blocks_;
    return block;
  }

  // Of what is kept, the blocks that waited longest go first.
  void drop_all_but(size_t bytes) {
    auto block = free_.begin();
    for (; kept_ > bytes; ++block) {
      kept_ -= block->bytes;
      release(*block);
      --blocks_;
    }
    free_.erase(free_.begin(), block);
  }

  std::mutex mutex_;
  std::vector<Block> free_;
  size_t kept_ = 0;    // bytes of these
  size_t blocks_ = 0;  // these, and those in use
};

Pool& pool() {
  static Pool pool;
  return pool;
}

Block take(size_t bytes) { return bytes < kLeastKept ? make_block(bytes) : pool().take(bytes); }

}  // namespace

KeptMemory::KeptMemory(size_t count) : block_(take(block_bytes(count))) {}

KeptMemory::~KeptMemory() {
  block_.bytes < kLeastKept ? release(block_) : pool().give_back(block_);
}

}  // namespace onnxbf
