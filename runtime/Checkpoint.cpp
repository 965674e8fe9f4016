// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The index and the shards must describe the same set of tensors: a shard that is missing, short or of another model
// otherwise loads as garbage.
#include "runtime/Checkpoint.h"
#include "runtime/Json.h"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <map>
#include <sys/stat.h>

namespace v4 {
namespace {

constexpr std::string_view indexName = "model.safetensors.index.json";

Expected<std::vector<std::string>> listSafetensors(const std::string &directory) {
  DIR *handle = ::opendir(directory.c_str());
  if (!handle)
    return errnoStatus("cannot read the checkpoint directory", directory, errno);
  std::vector<std::string> names;
  while (const dirent *entry = ::readdir(handle)) {
    std::string_view name = entry->d_name;
    if (name.ends_with(".safetensors") && !name.starts_with('.'))
      names.emplace_back(name);
  }
  ::closedir(handle);
  std::sort(names.begin(), names.end());
  return names;
}

} // namespace

Expected<std::vector<std::pair<std::string, std::string>>> parseIndex(std::string_view text) {
  json::Limits limits;
  limits.maxDepth = 16;
  Expected<json::Value> root = json::parse(text, limits);
  V4_RETURN_IF_ERROR(root);
  const json::Value *map = root->find("weight_map");
  if (!map || !map->isObject())
    return invalid("'weight_map' is missing or not an object");
  std::vector<std::pair<std::string, std::string>> entries;
  entries.reserve(map->members.size());
  for (const json::Member &member : map->members) {
    if (!member.value.isString())
      return invalid("'weight_map' gives no file name for tensor ", json::quoted(member.name));
    const std::string &shard = member.value.string;
    // A path could lead out of the directory.
    if (shard.empty() || shard.find('/') != std::string::npos || shard.find('\0') != std::string::npos ||
        shard == "." || shard == "..")
      return invalid("tensor ", json::quoted(member.name), " is mapped to ", json::quoted(shard),
                     ", which is not a plain file name");
    entries.emplace_back(member.name, shard);
  }
  if (entries.empty())
    return invalid("'weight_map' is empty");
  return entries;
}

Expected<Checkpoint> Checkpoint::open(const std::string &directory) {
  Checkpoint checkpoint;
  checkpoint.path = directory;
  Expected<std::vector<std::string>> present = listSafetensors(directory);
  V4_RETURN_IF_ERROR(present);
  std::string indexPath = concat(directory, "/", indexName);
  struct stat info;
  if (::stat(indexPath.c_str(), &info) == 0)
    V4_RETURN_IF_ERROR(checkpoint.openIndexed(indexPath, *present));
  else
    V4_RETURN_IF_ERROR(checkpoint.openAll(*present));
  return checkpoint;
}

Status Checkpoint::openIndexed(const std::string &indexPath, const std::vector<std::string> &present) {
  Expected<MappedFile> file = MappedFile::open(indexPath);
  V4_RETURN_IF_ERROR(file);
  Bytes bytes = file->bytes();
  auto entries = parseIndex({reinterpret_cast<const char *>(bytes.data()), bytes.size()});
  if (!entries)
    return entries.takeStatus().in(indexPath);

  std::map<std::string, uint32_t, std::less<>> shardIndex;
  for (const auto &[tensor, shard] : *entries)
    shardIndex.emplace(shard, 0);
  for (auto &[shard, index] : shardIndex) {
    if (!std::binary_search(present.begin(), present.end(), shard)) {
      struct stat info;
      if (::stat(concat(path, "/", shard).c_str(), &info) != 0)
        return invalid(indexPath, ": the index names shard '", shard, "', which is not in '", path,
                       "'; download it again");
    }
    Expected<SafetensorsFile> opened = SafetensorsFile::open(concat(path, "/", shard));
    V4_RETURN_IF_ERROR(opened);
    index = static_cast<uint32_t>(shards.size());
    shards.push_back(std::move(*opened));
  }
  for (const std::string &name : present)
    if (!shardIndex.contains(name))
      return invalid(path, "/", name,
                     ": the index does not name this shard; move it away, or use the index it belongs to");
  V4_RETURN_IF_ERROR(buildTable());

  for (const auto &[name, shard] : *entries) {
    const Tensor *tensor = find(name);
    if (!tensor)
      return invalid(indexPath, ": the index puts tensor '", name, "' into '", shard, "', which does not hold it");
    if (tensor->shard != shardIndex.find(shard)->second)
      return invalid(indexPath, ": the index puts tensor '", name, "' into '", shard, "', but it is in '",
                     shards[tensor->shard].mapping().path(), "'");
  }
  if (entries->size() != table.size()) {
    std::vector<std::string_view> names;
    for (const auto &entry : *entries)
      names.push_back(entry.first);
    std::sort(names.begin(), names.end());
    for (const Tensor &tensor : table)
      if (!std::binary_search(names.begin(), names.end(), std::string_view(tensor.info->name)))
        return invalid(shards[tensor.shard].mapping().path(), ": tensor '", tensor.info->name, "' is not in the index");
  }
  return {};
}

Status Checkpoint::openAll(const std::vector<std::string> &present) {
  if (present.empty())
    return invalid("the checkpoint directory '", path, "' holds neither ", indexName, " nor a *.safetensors file");
  for (const std::string &name : present) {
    Expected<SafetensorsFile> opened = SafetensorsFile::open(concat(path, "/", name));
    V4_RETURN_IF_ERROR(opened);
    shards.push_back(std::move(*opened));
  }
  return buildTable();
}

Status Checkpoint::buildTable() {
  for (uint32_t i = 0; i != shards.size(); ++i)
    for (const TensorInfo &tensor : shards[i].tensors())
      table.push_back({&tensor, i});
  std::sort(table.begin(), table.end(), [](const Tensor &a, const Tensor &b) { return a.info->name < b.info->name; });
  for (size_t i = 1; i < table.size(); ++i)
    if (table[i].info->name == table[i - 1].info->name)
      return invalid(path, ": tensor '", table[i].info->name, "' is in two shards, '",
                     shards[table[i - 1].shard].mapping().path(), "' and '", shards[table[i].shard].mapping().path(),
                     "'");
  return {};
}

const Checkpoint::Tensor *Checkpoint::find(std::string_view name) const {
  auto it = std::lower_bound(table.begin(), table.end(), name,
                             [](const Tensor &tensor, std::string_view key) { return tensor.info->name < key; });
  return it != table.end() && it->info->name == name ? &*it : nullptr;
}

} // namespace v4
