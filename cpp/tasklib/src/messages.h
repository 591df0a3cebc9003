/// The messages of the executor protocol (docs/protocol.md, "Executors").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tasklib/data.h"

namespace tasklib::detail {

constexpr std::uint32_t kProtocolVersion = 1;
/// The length in front of a frame.
constexpr std::size_t kFrameHeadBytes = 4;
constexpr std::size_t kFrameBytesMax = std::size_t{256} << 20;
/// Contents up to this size are sent in messages, larger ones as files.
constexpr std::size_t kInlineBytesMax = std::size_t{64} << 10;
/// Contents in one answer; what is past it goes as files.
constexpr std::size_t kInlineBytesPerAnswerMax = std::size_t{4} << 20;

/// Error and debug messages of a task; what is past it is left out.
constexpr std::size_t kTextBytesMax = std::size_t{1} << 20;

/// What tasks of a kind have in common.
struct Kind {
  /// EXECUTOR/METHOD
  std::string type;
  std::uint32_t cpus = 1;
  std::string name;
  std::string config;
  std::vector<std::string> input_labels;
  std::vector<OutputSpec> outputs;
};

struct DefineMessage {
  std::uint64_t kind_id = 0;
  Kind kind;
};

struct ForgetMessage {
  std::vector<std::uint64_t> kind_ids;
};

/// The views are into the frame.
struct InputMessage {
  std::optional<std::string_view> content;
  std::string_view path;
  std::string_view content_type;
  DataType data_type = DataType::blob;
  std::uint64_t size = 0;
  std::uint32_t object_id = 0;
  std::string_view user;
};

struct CallMessage {
  std::uint64_t call_id = 0;
  std::uint64_t kind_id = 0;
  std::uint32_t session_id = 0;
  std::uint32_t task_id = 0;
  std::optional<std::string_view> config;
  std::vector<InputMessage> inputs;
  std::string_view user;
  std::uint32_t governor = 0;
  std::uint32_t first_output_id = 0;
};

using FromGovernor = std::variant<DefineMessage, ForgetMessage, CallMessage>;

/// Reads the body of a frame; throws ProtocolError. `call` is reused to avoid allocations; nothing of its values stays.
FromGovernor decode_from_governor(std::string_view body, CallMessage call = {});

/// Debug messages and user attributes of an answer; empty ones are left out.
struct AnswerInfo {
  std::string_view debug;
  std::string_view user;
};

/// Starts a frame at the end of `to`; returns where, for end_frame().
std::size_t begin_frame(std::string &to);
void end_frame(std::string &to, std::size_t start);

/// Appends `text` until `to` has kTextBytesMax bytes, and `note` if that is not all of it; whether it was all.
bool append_bounded(std::string &to, std::string_view text, std::string_view note);

/// Whole frames, appended. An error message is cut to kTextBytesMax.
void append_register(std::string &to, std::string_view name, std::uint32_t pid);
void append_fail(std::string &to, std::uint64_t call_id, std::string_view message, const AnswerInfo &info);
/// A `done` message: the head, then `count` times source, content type and user in a list of three, then the info.
void append_done_head(std::string &to, std::uint64_t call_id, std::size_t count);
void append_info(std::string &to, const AnswerInfo &info);

}  // namespace tasklib::detail
