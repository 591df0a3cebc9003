/// Bodies of frames: whatever they hold, they are read as a message or refused, and nothing else is read.
#include <cstdint>
#include <optional>

#include "messages.h"
#include "msgpack.h"
#include "require.h"
#include "tasklib/error.h"
#include "tasklib/value.h"

using namespace tasklib;
using namespace tasklib::detail;

namespace {

std::optional<FromGovernor> decoded(std::string_view body, CallMessage reused) {
  try {
    return decode_from_governor(body, std::move(reused));
  } catch (const ProtocolError &) {
    return std::nullopt;
  }
}

/// A call with values in all places, as the one before may have left them.
CallMessage used_call() {
  CallMessage call;
  call.call_id = call.kind_id = 77;
  call.session_id = call.task_id = call.governor = call.first_output_id = 77;
  call.config = "config";
  call.user = "{}";
  call.inputs.resize(3);
  return call;
}

void require_same(const InputMessage &a, const InputMessage &b) {
  REQUIRE(a.content == b.content && a.path == b.path && a.content_type == b.content_type);
  REQUIRE(a.data_type == b.data_type && a.size == b.size && a.object_id == b.object_id && a.user == b.user);
}

void require_same(const CallMessage &a, const CallMessage &b) {
  REQUIRE(a.call_id == b.call_id && a.kind_id == b.kind_id && a.session_id == b.session_id && a.task_id == b.task_id);
  REQUIRE(a.config == b.config && a.user == b.user);
  REQUIRE(a.governor == b.governor && a.first_output_id == b.first_output_id);
  REQUIRE(a.inputs.size() == b.inputs.size());
  for (std::size_t number = 0; number < a.inputs.size(); ++number) require_same(a.inputs[number], b.inputs[number]);
}

/// Values have one encoding, in which they are read again.
void check_value(std::string_view body) {
  std::string written;
  try {
    written = Value::decode(body).encode();
  } catch (const TaskError &) {
    return;
  }
  REQUIRE(Value::decode(written).encode() == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char *>(data), size);
  const auto message = decoded(body, {});
  const auto again = decoded(body, used_call());
  REQUIRE(message.has_value() == again.has_value());
  if (message) {
    REQUIRE(message->index() == again->index());
    if (const auto *call = std::get_if<CallMessage>(&*message)) require_same(*call, std::get<CallMessage>(*again));
  }
  check_value(body);
  return 0;
}
