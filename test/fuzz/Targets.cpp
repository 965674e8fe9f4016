// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The fuzz targets; see Targets.h. What a parser accepts is used a little, so that a wrong size shows.
#include "test/fuzz/Targets.h"
#include "runtime/Checkpoint.h"
#include "runtime/Json.h"
#include "runtime/Module.h"
#include "runtime/Npy.h"
#include "runtime/Safetensors.h"

#include <cstdlib>
#include <string>

namespace v4::fuzz {
namespace {

Bytes asBytes(const uint8_t *data, size_t size) {
  return {reinterpret_cast<const std::byte *>(data), size};
}
std::string_view asText(const uint8_t *data, size_t size) {
  return {reinterpret_cast<const char *>(data), size};
}

/// Reads a range, so that a sanitizer sees one that is out of bounds.
void touch(Bytes bytes) {
  unsigned sum = 0;
  for (std::byte byte : bytes)
    sum += static_cast<unsigned>(byte);
  volatile unsigned sink = sum;
  (void)sink;
}

} // namespace

void module(const uint8_t *data, size_t size) {
  (void)ModuleFile::copy(asBytes(data, size)).takeStatus(); // the header as it is
  std::string file = moduleHeader(asBytes(data, size));
  file.append(asText(data, size));
  Expected<ModuleFile> verified = ModuleFile::copy({reinterpret_cast<const std::byte *>(file.data()), file.size()});
  if (!verified)
    return;
  // What verifies must load or be refused; nothing of it is run.
  auto loaded = Module::load(std::move(*verified), "cpu");
  if (loaded)
    touch(asBytes(reinterpret_cast<const uint8_t *>((*loaded)->model().model_type()->c_str()),
                  (*loaded)->model().model_type()->size()));
}

void safetensors(const uint8_t *data, size_t size) {
  Expected<SafetensorsHeader> header = parseSafetensors(asBytes(data, size));
  if (!header)
    return;
  for (const TensorInfo &tensor : header->tensors) {
    if (tensor.end > size - header->payload)
      std::abort();
    touch(asBytes(data + header->payload + tensor.begin, tensor.end - tensor.begin));
  }
}

void json(const uint8_t *data, size_t size) {
  (void)json::parse(asText(data, size)).takeStatus();
}

void index(const uint8_t *data, size_t size) {
  auto entries = parseIndex(asText(data, size));
  if (!entries)
    return;
  for (const auto &[tensor, shard] : *entries)
    if (shard.find('/') != std::string::npos)
      std::abort();
}

void npy(const uint8_t *data, size_t size) {
  Expected<NpyArray> array = parseNpy(asBytes(data, size));
  if (array)
    touch(array->data);
}

} // namespace v4::fuzz
