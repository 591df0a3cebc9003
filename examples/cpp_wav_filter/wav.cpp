#include "wav.h"

#include <tasklib/executor.h>

namespace {

// WAV is little-endian, whatever the machine is.
std::uint32_t number(std::string_view bytes, std::size_t at, std::size_t size) {
  if (at + size > bytes.size()) throw tasklib::TaskError("the WAV file is cut off");
  std::uint32_t value = 0;
  for (std::size_t i = size; i > 0; --i) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i - 1]);
  return value;
}

void append(std::string &bytes, std::uint32_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

Sound read_wav(std::string_view bytes) {
  if (bytes.substr(0, 4) != "RIFF" || bytes.size() < 12 || bytes.substr(8, 4) != "WAVE") {
    throw tasklib::TaskError("not a WAV file");
  }
  Sound sound;
  std::size_t at = 12;
  while (at + 8 <= bytes.size()) {
    const std::string_view name = bytes.substr(at, 4);
    const std::size_t size = number(bytes, at + 4, 4);
    at += 8;
    if (name == "fmt ") {
      const std::uint32_t format = number(bytes, at, 2), bits = number(bytes, at + 14, 2);
      if (format != 1 || bits != 16) throw tasklib::TaskError("only WAV files with 16 bits a sample can be filtered");
      sound.channels = static_cast<std::uint16_t>(number(bytes, at + 2, 2));
      sound.rate = number(bytes, at + 4, 4);
    } else if (name == "data") {
      if (sound.channels == 0) break;
      for (std::size_t i = 0; i + 2 <= size; i += 2) {
        sound.samples.push_back(static_cast<std::int16_t>(number(bytes, at + i, 2)));
      }
      return sound;
    }
    at += size + size % 2;
  }
  throw tasklib::TaskError("the WAV file has no sound");
}

std::string write_wav(const Sound &sound) {
  const auto size = static_cast<std::uint32_t>(2 * sound.samples.size());
  std::string bytes = "RIFF";
  append(bytes, 36 + size, 4);
  bytes += "WAVEfmt ";
  append(bytes, 16, 4);
  append(bytes, 1, 2);
  append(bytes, sound.channels, 2);
  append(bytes, sound.rate, 4);
  append(bytes, sound.rate * sound.channels * 2, 4);
  append(bytes, std::uint32_t{sound.channels} * 2, 2);
  append(bytes, 16, 2);
  bytes += "data";
  append(bytes, size, 4);
  for (const std::int16_t sample : sound.samples) append(bytes, static_cast<std::uint16_t>(sample), 2);
  return bytes;
}
