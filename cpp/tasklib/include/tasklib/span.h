/// A view of consecutive values that somebody else owns: what C++20 calls std::span.
#pragma once

#include <cstddef>
#include <stdexcept>

namespace tasklib {

template <class T>
class span {
 public:
  constexpr span() = default;
  constexpr span(T *data, std::size_t size) : data_(data), size_(size) {}

  constexpr T *data() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T *begin() const { return data_; }
  constexpr T *end() const { return data_ + size_; }
  constexpr T &operator[](std::size_t index) const { return data_[index]; }

  /// As operator[], but checked.
  T &at(std::size_t index) const {
    if (index >= size_) throw std::out_of_range("tasklib::span::at");
    return data_[index];
  }

  /// `count` values from `offset`; checked.
  span subspan(std::size_t offset, std::size_t count) const {
    if (offset > size_ || count > size_ - offset) throw std::out_of_range("tasklib::span::subspan");
    return span(data_ + offset, count);
  }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tasklib
