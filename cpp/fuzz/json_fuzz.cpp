/// Texts: the three functions that check JSON agree, and what is made of a text is what it has to be.
#include <cstdint>

#include "attributes.h"
#include "msgpack.h"
#include "require.h"
#include "tasklib/error.h"
#include "tasklib/json.h"

using namespace tasklib;
using namespace tasklib::detail;

namespace {

bool are_attributes(std::string_view text) {
  try {
    check_attributes(text);
    return true;
  } catch (const TaskError &) {
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char *>(data), size);
  const bool json = is_json(text);
  const bool object = is_json_object(text);
  REQUIRE(json || !object);
  REQUIRE(are_attributes(text) == object);
  REQUIRE(is_json(" " + std::string(text) + "\n") == json);
  REQUIRE(!json || !is_json(std::string(text) + ","));
  REQUIRE(is_json(json_quote(text)));
  REQUIRE(is_json_object("{" + json_quote(text) + ": " + json_quote(text) + "}"));
  const std::string repaired = to_utf8(text);
  REQUIRE(utf8_prefix(repaired) == repaired.size());
  REQUIRE((repaired == text) == (utf8_prefix(text) == size));
  return 0;
}
