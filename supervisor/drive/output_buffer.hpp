// A buffer of fixed room whose memory goes back to the system when it is idle: anonymous pages, not the heap,
// which would keep what a burst of output once needed. Invariant: size() <= capacity(). Non-goal: growing.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstring>
#include <string_view>

namespace runmain::drive {

class OutputBuffer {
 public:
  // Without memory the capacity is 0.
  explicit OutputBuffer(std::size_t capacity) {
    void* at =
        mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return;
    data_ = static_cast<char*>(at);
    capacity_ = capacity;
  }
  ~OutputBuffer() {
    if (data_ != nullptr) munmap(data_, capacity_);
  }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;

  std::size_t size() const { return end_ - start_; }
  std::size_t capacity() const { return capacity_; }
  std::size_t room() const { return capacity_ - size(); }
  std::string_view view() const { return {data_ + start_, size()}; }

  // Where `n` bytes may be put by the caller, who then says grow(). Requires n <= room().
  char* space(std::size_t n) {
    if (n > capacity_ - end_) {
      std::memmove(data_, data_ + start_, size());
      end_ -= start_;
      start_ = 0;
    }
    return data_ + end_;
  }
  void grow(std::size_t n) {
    end_ += n;
    if (end_ > touched_) touched_ = end_;
  }

  // Requires bytes.size() <= room().
  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(space(bytes.size()), bytes.data(), bytes.size());
    grow(bytes.size());
  }
  void drop_front(std::size_t n) {
    start_ += n;
    if (start_ == end_) clear();
  }
  void clear() { start_ = end_ = 0; }

  // Gives pages back if the content is gone and it was more than a few.
  void release() {
    if (size() != 0 || touched_ <= kKeptBytes) return;
    madvise(data_, capacity_, MADV_DONTNEED);
    touched_ = 0;
  }

 private:
  static constexpr std::size_t kKeptBytes = 16U << 10U;
  char* data_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t start_ = 0;
  std::size_t end_ = 0;
  std::size_t touched_ = 0;
};

}  // namespace runmain::drive
