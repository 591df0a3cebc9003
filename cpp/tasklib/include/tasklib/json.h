/// The little JSON that attributes need: Rain passes them as text, use any JSON library to read or make it.
#pragma once

#include <string>
#include <string_view>

namespace tasklib {

/// Whether `text` is one JSON value.
bool is_json(std::string_view text);

/// `text` as a JSON string, quotes included.
std::string json_quote(std::string_view text);

}  // namespace tasklib
