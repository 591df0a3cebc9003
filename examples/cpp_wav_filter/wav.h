/// Sounds in WAV files: 16 bits, any number of channels.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct Sound {
  std::uint32_t rate = 0;
  std::uint16_t channels = 0;
  /// One after the other for all channels.
  std::vector<std::int16_t> samples;
};

/// Throws tasklib::TaskError if it is not a WAV file of 16 bits.
Sound read_wav(std::string_view bytes);
std::string write_wav(const Sound &sound);
