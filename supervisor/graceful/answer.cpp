#include "graceful/answer.hpp"

#include <algorithm>
#include <charconv>

namespace runmain::graceful {
namespace {

constexpr std::size_t kChunkLineMax = 1024;

bool is_same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r'))
    text.remove_suffix(1);
  return text;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (is_same_word(trimmed(list.substr(0, comma)), word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool read_number(std::string_view text, std::uint64_t& number, int base) {
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return fault == std::errc() && end != text.data();
}

}  // namespace

AnswerReader::State AnswerReader::feed(std::string_view bytes) {
  while (!bytes.empty() && (state_ == State::nothing || state_ == State::head)) {
    state_ = State::head;
    const std::size_t before = head_.size();
    head_.append(bytes.substr(0, kAnswerHeadMax + 1 - std::min(before, kAnswerHeadMax)));
    const std::size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
    constexpr std::string_view kBegin = "HTTP/1.";
    if (kBegin.substr(0, head_.size()) != std::string_view(head_).substr(0, kBegin.size()) ||
        (end == std::string::npos && head_.size() > kAnswerHeadMax)) {
      state_ = State::bad;
    }
    if (end == std::string::npos || state_ == State::bad) return state_;
    bytes.remove_prefix(end + 4 - before);
    head_.resize(end + 2);
    read_head();
    head_.clear();
  }
  if (state_ == State::body) take_body(bytes);
  return state_;
}

AnswerReader::State AnswerReader::end() {
  if (state_ == State::body && how_ == Body::until_end) state_ = State::done;
  return state_;
}

void AnswerReader::read_head() {
  std::string_view text = head_;
  std::uint64_t status = 0;
  if (text.size() < 12 || !read_number(text.substr(9, 3), status, 10)) {
    state_ = State::bad;
    return;
  }
  status_ = static_cast<int>(status);
  last_ = text[7] == '0';
  how_ = Body::until_end;
  text.remove_prefix(text.find("\r\n") + 2);
  while (!text.empty()) {
    const std::size_t end = text.find("\r\n");
    const std::string_view line = text.substr(0, end);
    if (const std::size_t colon = line.find(':'); colon != std::string_view::npos)
      read_field(line.substr(0, colon), trimmed(line.substr(colon + 1)));
    text.remove_prefix(end + 2);
  }
  if (status_ >= 100 && status_ < 200) {  // interim: the answer is still to come
    state_ = State::head;
    return;
  }
  if (status_ == 204 || status_ == 304) how_ = Body::none;
  if (how_ == Body::until_end) last_ = true;
  const bool is_empty = how_ == Body::none || (how_ == Body::length && left_ == 0);
  state_ = is_empty ? State::done : State::body;
}

void AnswerReader::read_field(std::string_view name, std::string_view value) {
  if (is_same_word(name, "connection")) {
    if (has_word(value, "close")) last_ = true;
    if (has_word(value, "keep-alive")) last_ = false;
  } else if (is_same_word(name, "transfer-encoding") && has_word(value, "chunked")) {
    how_ = Body::chunked;
  } else if (is_same_word(name, "content-length") && how_ != Body::chunked && read_number(value, left_, 10)) {
    how_ = Body::length;
  }
}

void AnswerReader::take_body(std::string_view bytes) {
  if (how_ == Body::chunked) {
    take_chunks(bytes);
    return;
  }
  if (how_ == Body::until_end) {
    body_ += bytes.size();
    return;
  }
  const std::size_t taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
  body_ += taken;
  left_ -= taken;
  if (left_ == 0) state_ = State::done;
}

void AnswerReader::take_chunks(std::string_view bytes) {
  while (!bytes.empty() && state_ == State::body) {
    if (in_chunk_) {
      const std::size_t taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
      body_ += taken;
      left_ -= taken;
      bytes.remove_prefix(taken);
      in_chunk_ = left_ > 0;
      continue;
    }
    const std::size_t end = bytes.find('\n');
    head_.append(bytes.substr(0, std::min(end, kChunkLineMax)));
    if (head_.size() > kChunkLineMax) state_ = State::bad;
    if (end == std::string_view::npos) return;
    bytes.remove_prefix(end + 1);
    const std::string_view line = trimmed(head_);
    if (last_chunk_) {
      if (line.empty()) state_ = State::done;
    } else if (!line.empty()) {  // an empty one ends the chunk before
      if (!read_number(line, left_, 16)) state_ = State::bad;
      last_chunk_ = left_ == 0;
      in_chunk_ = left_ > 0;
    }
    head_.clear();
  }
}

}  // namespace runmain::graceful
