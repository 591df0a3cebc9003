#include "tasklib/json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "attributes.h"
#include "msgpack.h"
#include "tasklib/error.h"

namespace tasklib {

namespace {

constexpr const char *kNoJson = "it is not JSON";
/// Larger ones decide already.
constexpr std::int64_t kExponentMax = 1'000'000'000'000;

/// Whether WHOLE.FRACTION times ten to the power of `exponent` is within the range of a double.
bool is_finite(std::string_view whole, std::string_view fraction, std::int64_t exponent) {
  constexpr std::int64_t kDigitsMax = 309;
  std::string digits(whole);
  digits += fraction;
  const std::size_t zeros = digits.find_first_not_of('0');
  if (zeros == std::string::npos) return true;
  digits.erase(0, zeros);
  // How many digits the number has before its point.
  const std::int64_t before = static_cast<std::int64_t>(whole.size()) - static_cast<std::int64_t>(zeros) + exponent;
  if (before != kDigitsMax) return before < kDigitsMax;
  // Without a point, which every locale writes in its own way.
  digits += "e" + std::to_string(before - static_cast<std::int64_t>(digits.size()));
  return std::isfinite(std::strtod(digits.c_str(), nullptr));
}

/// Follows the grammar of RFC 8259, and refuses what it allows but readers of JSON do not take; each function takes what it
/// is named for and says whether it was there.
class Checker {
 public:
  explicit Checker(std::string_view text) : rest_(text) {}

  /// What is wrong with the text; nullptr if it is one value.
  const char *fault() {
    if (detail::utf8_prefix(rest_) != rest_.size()) return "it is not UTF-8";
    if (!value(0)) return fault_;
    space();
    return rest_.empty() ? nullptr : kNoJson;
  }

 private:
  /// Levels of lists and objects in each other: as many as the engine's reader takes.
  static constexpr unsigned kDepthMax = 127;

  bool refuse(const char *fault) {
    fault_ = fault;
    return false;
  }

  void space() {
    const std::size_t past = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(past == std::string_view::npos ? rest_.size() : past);
  }

  bool take(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  bool token(char c) {
    space();
    return take(std::string_view(&c, 1));
  }

  bool value(unsigned depth) {
    space();
    if (rest_.empty()) return false;
    switch (rest_.front()) {
      case '{': return members('}', depth + 1, true);
      case '[': return members(']', depth + 1, false);
      case '"': return text();
      case 't': return take("true");
      case 'f': return take("false");
      case 'n': return take("null");
      default: return number();
    }
  }

  bool members(char end, unsigned depth, bool named) {
    if (depth > kDepthMax) return refuse("it is nested too deeply");
    rest_.remove_prefix(1);
    if (token(end)) return true;
    do {
      if (named) {
        space();
        if (!text() || !token(':')) return false;
      }
      if (!value(depth)) return false;
    } while (token(','));
    return token(end);
  }

  bool text() {
    if (!take("\"")) return false;
    while (!rest_.empty()) {
      const auto c = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c < 0x20) return false;
      if (c == '\\' && !escape()) return false;
    }
    return false;
  }

  /// What comes after a backslash.
  bool escape() {
    if (rest_.empty()) return false;
    const char kind = rest_.front();
    rest_.remove_prefix(1);
    if (kind != 'u') return std::string_view("\"\\/bfnrt").find(kind) != std::string_view::npos;
    const std::optional<unsigned> unit = code_unit();
    if (!unit) return false;
    if (*unit < 0xd800 || *unit > 0xdfff) return true;
    if (*unit <= 0xdbff && take("\\u")) {
      const std::optional<unsigned> second = code_unit();
      if (!second) return false;
      if (*second >= 0xdc00 && *second <= 0xdfff) return true;
    }
    return refuse("it has half of a surrogate pair");
  }

  std::optional<unsigned> code_unit() {
    if (rest_.size() < 4) return std::nullopt;
    unsigned unit = 0;
    for (const char c : rest_.substr(0, 4)) {
      const std::size_t digit = std::string_view("0123456789abcdefABCDEF").find(c);
      if (digit == std::string_view::npos) return std::nullopt;
      unit = 16 * unit + static_cast<unsigned>(digit < 16 ? digit : digit - 6);
    }
    rest_.remove_prefix(4);
    return unit;
  }

  std::string_view digits() {
    const std::size_t past = rest_.find_first_not_of("0123456789");
    const std::string_view found = rest_.substr(0, past);
    rest_.remove_prefix(found.size());
    return found;
  }

  bool number() {
    take("-");
    const std::string_view whole = digits();
    if (whole.empty() || (whole.size() > 1 && whole.front() == '0')) return false;
    std::string_view fraction;
    if (take(".") && (fraction = digits()).empty()) return false;
    std::int64_t exponent = 0;
    if (take("e") || take("E")) {
      const bool negative = !take("+") && take("-");
      const std::string_view given = digits();
      if (given.empty()) return false;
      for (const char digit : given) exponent = std::min<std::int64_t>(10 * exponent + (digit - '0'), kExponentMax);
      if (negative) exponent = -exponent;
    }
    return is_finite(whole, fraction, exponent) || refuse("a number in it is too large");
  }

  std::string_view rest_;
  const char *fault_ = kNoJson;
};

}  // namespace

bool is_json(std::string_view text) { return Checker(text).fault() == nullptr; }

bool is_json_object(std::string_view text) {
  return is_json(text) && text[text.find_first_not_of(" \t\r\n")] == '{';
}

void detail::check_attributes(std::string_view json) {
  constexpr std::size_t kShownMax = 100;
  const char *fault = Checker(json).fault();
  if (fault == nullptr && !is_json_object(json)) fault = "it is JSON, but not an object";
  if (fault == nullptr) return;
  throw TaskError("user attributes have to be the text of a JSON object, as {\"unit\": \"m\"}, but " + std::string(fault) +
                  ": " + std::string(json.substr(0, kShownMax)) + (json.size() > kShownMax ? "..." : ""));
}

std::string json_quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : detail::to_utf8(text)) {
    switch (c) {
      case '"': result += "\\\""; break;
      case '\\': result += "\\\\"; break;
      case '\n': result += "\\n"; break;
      case '\r': result += "\\r"; break;
      case '\t': result += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char escape[8];
          std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
          result += escape;
        } else {
          result += c;
        }
    }
  }
  return result + "\"";
}

}  // namespace tasklib
