#include "connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

#include "messages.h"
#include "msgpack.h"

namespace tasklib::detail {

namespace {

/// Room for many calls at once; larger ones get a larger buffer for a while.
constexpr std::size_t kBufferBytes = std::size_t{128} << 10;

}  // namespace

Connection::Connection(int socket) : socket_(socket), capacity_(kBufferBytes), buffer_(new char[kBufferBytes]) {}

std::optional<std::string_view> Connection::receive() {
  std::size_t wanted = kFrameHeadBytes;
  while (true) {
    const std::size_t available = end_ - begin_;
    if (available >= kFrameHeadBytes) {
      std::uint32_t length = 0;
      for (std::size_t byte = kFrameHeadBytes; byte > 0; --byte) {
        length = length << 8 | static_cast<std::uint8_t>(buffer_[begin_ + byte - 1]);
      }
      if (length > kFrameBytesMax) throw ProtocolError("a frame of " + std::to_string(length) + " bytes is too long");
      wanted = kFrameHeadBytes + length;
      if (available >= wanted) {
        const std::string_view body(buffer_.get() + begin_ + kFrameHeadBytes, length);
        begin_ += wanted;
        return body;
      }
    }
    if (!fill(wanted)) return std::nullopt;
  }
}

bool Connection::fill(std::size_t wanted) {
  const std::size_t available = end_ - begin_;
  const std::size_t capacity = std::max(wanted, kBufferBytes);
  if (capacity > capacity_ || (capacity < capacity_ && available <= capacity)) {
    std::unique_ptr<char[]> larger(new char[capacity]);
    std::memcpy(larger.get(), buffer_.get() + begin_, available);
    buffer_ = std::move(larger);
    capacity_ = capacity;
  } else if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, available);
  }
  begin_ = 0;
  end_ = available;
  while (true) {
    const ssize_t received = recv(socket_, buffer_.get() + end_, capacity_ - end_, 0);
    if (received > 0) {
      end_ += static_cast<std::size_t>(received);
      return true;
    }
    if (received == 0 || errno == ECONNRESET) return false;
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "receiving from the governor");
  }
}

void Connection::send(std::string_view frames) {
  while (!frames.empty()) {
    const ssize_t sent = ::send(socket_, frames.data(), frames.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      frames.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      // The governor has gone; the next receive() sees it.
      return;
    } else if (errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "sending to the governor");
    }
  }
}

}  // namespace tasklib::detail
