#include "telemetry/gzip.hpp"

#include <zlib.h>

#include <algorithm>
#include <limits>

namespace runmain::telemetry {
namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib's way to say gzip
constexpr int kMemoryLevel = 8;
constexpr std::size_t kStep = 64U << 10U;

void give(z_stream& stream, std::string_view bytes) {
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

void make_room(z_stream& stream, std::string& out, std::size_t used, std::size_t size) {
  out.resize(used + size);
  stream.next_out = reinterpret_cast<Bytef*>(out.data() + used);
  stream.avail_out = static_cast<uInt>(size);
}

}  // namespace

Result<std::string> gzip(std::string_view bytes) {
  if (bytes.size() > std::numeric_limits<uInt>::max() / 2) return Error{"too much to compress at once"};
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    return Error{"deflateInit2 has no memory"};
  }
  std::string out;
  give(stream, bytes);
  make_room(stream, out, 0, deflateBound(&stream, static_cast<uLong>(bytes.size())));
  const int status = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) return Error{"deflate failed"};
  return out;
}

Result<std::string> gunzip(std::string_view bytes, std::size_t limit) {
  if (bytes.size() > std::numeric_limits<uInt>::max()) return Error{"too much to decompress at once"};
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) return Error{"inflateInit2 has no memory"};
  std::string out;
  std::size_t used = 0;
  give(stream, bytes);
  int status = Z_OK;
  while (status == Z_OK && used <= limit) {
    const std::size_t step = std::min(std::max(kStep, used), limit - used + 1);
    make_room(stream, out, used, step);
    status = inflate(&stream, Z_NO_FLUSH);
    used += step - stream.avail_out;
    if (status == Z_STREAM_END && stream.avail_in > 0) status = inflateReset(&stream);
    if (status == Z_OK && stream.avail_in == 0 && stream.avail_out > 0) status = Z_BUF_ERROR;
  }
  inflateEnd(&stream);
  out.resize(std::min(used, limit));
  if (used > limit) return Error{"more than " + std::to_string(limit) + " bytes come out of it"};
  if (status != Z_STREAM_END) return Error{"not gzip, or cut off"};
  return out;
}

}  // namespace runmain::telemetry
