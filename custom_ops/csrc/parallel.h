// Threads for callers that bring none of their own (ONNX Runtime does).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace onnxbf {

// Elements worth a thread: starting one takes about as long as rounding so many.
constexpr int64_t kGrain = int64_t{1} << 18;

// Calls body(begin, end) for slices of [begin, end) on up to `threads` threads, this one among
// them. Slices begin at multiples of 1024 elements, where tiles and batches of random words do.
template <class Body>
void parallel(int64_t begin, int64_t end, int32_t threads, const Body& body) {
  constexpr int64_t kBatch = 1024;
  const int64_t wanted = std::clamp<int64_t>((end - begin) / kGrain, 1, std::max(threads, 1));
  const int64_t slice = ((end - begin) / wanted + kBatch - 1) / kBatch * kBatch;
  std::vector<std::thread> others;
  int64_t first = begin;
  for (int64_t i = 1; i < wanted; ++i) {
    const int64_t next = std::min(begin - begin % kBatch + i * slice, end);
    try {
      others.emplace_back([=, &body] { body(first, next); });
    } catch (const std::system_error&) {  // no more threads to be had
      break;
    }
    first = next;
  }
  body(first, end);
  for (std::thread& other : others) other.join();
}

// Calls body(i) for each i of [0, count), which are of some length, on up to `threads` threads.
template <class Body>
void parallel_tasks(int64_t count, int32_t threads, const Body& body) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) body(i);
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min<int64_t>(count, threads); ++i) {
    try {
      others.emplace_back(work);
    } catch (const std::system_error&) {  // no more threads to be had
      break;
    }
  }
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace onnxbf
