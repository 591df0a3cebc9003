/// The socket to the governor.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

namespace tasklib::detail {

/// Frames in, frames out. Does not own the socket. Throws std::system_error, or ProtocolError for a frame that is too long.
class Connection {
 public:
  explicit Connection(int socket);

  /// The body of the next frame, good until the next call of this; nothing when the governor has closed the socket.
  std::optional<std::string_view> receive();
  /// Sends whole frames.
  void send(std::string_view frames);

 private:
  /// Reads what has come; false at the end.
  bool fill(std::size_t wanted);

  int socket_;
  std::size_t capacity_;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace tasklib::detail
