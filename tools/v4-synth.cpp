// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a checkpoint of random weights: official names, the storage formats of the releases, any configuration. The
// tensors come from the list that the compiler reads checkpoints with, so the two cannot disagree.
#include "frontend/Config.h"
#include "frontend/Files.h"
#include "frontend/Parameters.h"
#include "runtime/Json.h"
#include "runtime/RandomTensor.h"
#include "runtime/Safetensors.h"
#include "tools/Options.h"
#include "tools/Process.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <charconv>
#include <dirent.h>
#include <sys/statvfs.h>
#include <unistd.h>

using namespace v4;
namespace frontend = mlir::v4;

namespace {

ToolSpec toolSpec() {
  ToolSpec tool;
  tool.name = "v4-synth";
  tool.summary = "writes a checkpoint of random weights in the official layout";
  tool.usage = "--config=C.json --format=FORMAT --seed=N -o DIR [--sparse]";
  tool.version = concat("v4-synth ", V4_VERSION);
  tool.examples = {
      {"v4-synth --config=tiny.json --format=bf16 --seed=1 -o ckpt", "a small checkpoint to compile and run"},
      {"v4-synth --config=pro.json --format=fp4 --seed=1 --sparse -o pro",
       "every header of a big one, holes for payload"},
  };
  tool.options = {
      {"config", "C.json", "model", "the configuration; a copy that fits the format goes into the checkpoint"},
      {"format",
       "FORMAT",
       "model",
       "fp4: experts fp4, other linears fp8; fp8: both fp8; bf16, f32: nothing quantised",
       false,
       {"fp4", "fp8", "bf16", "f32"}},
      {"seed", "N", "model", "the same seed gives the same bytes"},
      {"o", "DIR", "output", "the checkpoint: a new or empty directory"},
      {"sparse", "", "output", "leave the payload out: files of full size that hold nothing and take no space"},
  };
  tool.footer = "Shards have at most 4 GiB, unless one tensor has more. Memory is needed for names only.\n"
                "Exit codes: 0 ok, 1 input rejected, 2 usage, 3 environment (full disk), 70 internal error.";
  return tool;
}

struct Command {
  std::string config, format, directory;
  uint64_t seed = 0;
  bool sparse = false;
};

std::string readCommand(const ParsedOptions &options, Command &command) {
  for (const char *name : {"config", "format", "seed", "o"})
    if (!options.has(name))
      return concat(name[1] ? "--" : "-", name, " is missing");
  command.config = options.get("config");
  command.format = options.get("format");
  command.directory = options.get("o");
  command.sparse = options.has("sparse");
  if (!parseUnsigned(options.get("seed"), command.seed))
    return concat("--seed=", options.get("seed"), " is not a whole number from 0");
  return {};
}

// ---- Configuration

/// Prints as JSON; numbers in their shortest form, which llvm::json has not.
void printJson(const llvm::json::Value &value, unsigned indent, std::string &out) {
  auto list = [&](const char *brackets, size_t count, auto element) {
    out += brackets[0];
    for (size_t i = 0; i != count; ++i) {
      out += concat(i ? "," : "", "\n", std::string(indent + 2, ' '));
      element(i);
    }
    out += concat(count ? concat("\n", std::string(indent, ' ')) : std::string(), brackets[1]);
  };
  if (const llvm::json::Object *object = value.getAsObject()) {
    std::vector<llvm::StringRef> keys;
    for (const auto &member : *object)
      keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    return list("{}", keys.size(), [&](size_t i) {
      out += concat(json::quoted(std::string_view(keys[i])), ": ");
      printJson(*object->get(keys[i]), indent + 2, out);
    });
  }
  if (const llvm::json::Array *array = value.getAsArray())
    return list("[]", array->size(), [&](size_t i) { printJson((*array)[i], indent + 2, out); });
  if (auto string = value.getAsString())
    out += json::quoted(std::string_view(*string));
  else if (auto integer = value.getAsInteger())
    out += std::to_string(*integer);
  else if (auto number = value.getAsNumber()) {
    char text[32];
    out.append(text, std::to_chars(text, text + sizeof text, *number).ptr);
  } else if (auto boolean = value.getAsBoolean())
    out += *boolean ? "true" : "false";
  else
    out += "null";
}

/// The configuration with what announces the storage formats.
void setFormat(llvm::json::Object &config, std::string_view format) {
  for (const char *key : {"expert_dtype", "quantization_config", "dtype"})
    config.erase(key);
  config["torch_dtype"] = format == "f32" ? "float32" : "bfloat16";
  if (format != "fp4" && format != "fp8")
    return;
  config["expert_dtype"] = std::string(format);
  config["quantization_config"] = llvm::json::Object{{"quant_method", "fp8"},
                                                     {"fmt", "e4m3"},
                                                     {"activation_scheme", "dynamic"},
                                                     {"scale_fmt", "ue8m0"},
                                                     {"weight_block_size", llvm::json::Array{128, 128}}};
}

void printDiagnostic(mlir::Diagnostic &diagnostic) {
  bool isError = diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error;
  std::string place;
  if (auto location = mlir::dyn_cast<mlir::FileLineColLoc>(diagnostic.getLocation()))
    place = concat(std::string_view(location.getFilename().getValue()), ":", location.getLine(), ":",
                   location.getColumn(), ": ");
  report(isError ? "error" : "warning", isError ? V4_INVALID : V4_OK, place + diagnostic.str());
}

// ---- Writing

struct Tensor {
  TensorInfo info;
  uint64_t bytes = 0;
  RandomIds ids;
};

using Shard = std::vector<Tensor>;

class Synthesis {
public:
  Synthesis(const Command &command) : command(command) {}

  /// Reads the configuration and lists the tensors. False: rejected, and said so.
  bool plan() {
    mlir::MLIRContext context;
    mlir::ScopedDiagnosticHandler printer(&context, [&](mlir::Diagnostic &diagnostic) {
      // The second reading would repeat the warnings.
      if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error || configText.empty())
        printDiagnostic(diagnostic);
      return mlir::success();
    });
    constexpr uint64_t maxSize = 1 << 20;
    mlir::FailureOr<std::string> text = frontend::readTextFile(&context, command.config, maxSize);
    if (mlir::failed(text) || mlir::failed(frontend::parseConfig(&context, *text, command.config)))
      return false;
    llvm::Expected<llvm::json::Value> root = llvm::json::parse(*text);
    if (!root) {
      fail(invalid(command.config, ": ", llvm::toString(root.takeError())));
      return false;
    }
    setFormat(*root->getAsObject(), command.format);
    printJson(*root, 0, configText);
    configText += '\n';
    mlir::FailureOr<frontend::Config> config = frontend::parseConfig(&context, configText, command.config);
    if (mlir::failed(config))
      return false;
    // The drafter of later releases is no part of the graph, and checkpoints without it are complete.
    bool mtp = config->mtpBlocks != 0 && !config->drafter;
    mlir::FailureOr<frontend::ModelParameters> model =
        frontend::resolveParameters(&context, *config, /*checkpoint=*/nullptr, mtp);
    if (mlir::failed(model))
      return false;
    RandomIds ids = {static_cast<uint64_t>(config->expertsPerToken), static_cast<uint64_t>(config->experts)};
    for (const frontend::Parameter &parameter : model->list)
      addParameter(parameter, ids);
    return true;
  }

  Status write() {
    V4_RETURN_IF_ERROR(prepareDirectory());
    Status status = writeAll();
    if (status.ok())
      return status;
    // Half a checkpoint is of no use to anybody.
    for (const std::string &path : written)
      ::unlink(path.c_str());
    if (created)
      ::rmdir(command.directory.c_str());
    return status;
  }

private:
  void addParameter(const frontend::Parameter &parameter, RandomIds ids) {
    // Weight and scale of an expert stand together, as in the releases.
    int64_t rows = parameter.spec.role == frontend::ParameterRole::Expert ? parameter.weight.shape[0] : 1;
    for (int64_t row = 0; row != rows; ++row) {
      addTensor(parameter.weight, row, ids);
      if (parameter.scale)
        addTensor(*parameter.scale, row, ids);
    }
  }

  void addTensor(const frontend::SourceView &view, int64_t row, RandomIds ids) {
    Tensor tensor;
    tensor.ids = ids;
    auto [before, after] = llvm::StringRef(view.tensor).split("{e}");
    tensor.info.name = before.size() == view.tensor.size()
                           ? view.tensor
                           : concat(std::string_view(before), row, std::string_view(after));
    tensor.info.dtype = std::string_view(frontend::dtypeName(view.dtype));
    tensor.info.shape.assign(view.tensorShape.begin(), view.tensorShape.end());
    tensor.bytes = frontend::dtypeBits(view.dtype) / 8;
    for (uint64_t extent : tensor.info.shape)
      tensor.bytes *= extent;

    constexpr uint64_t shardLimit = uint64_t(4) << 30, headerShare = 160; // of a tensor, beside its name
    constexpr size_t tensorLimit = 100'000;                               // keeps headers below their limit
    uint64_t size = tensor.bytes + tensor.info.name.size() + headerShare;
    if (shards.empty() || shardBytes + size > shardLimit || shards.back().size() == tensorLimit) {
      shards.emplace_back();
      shardBytes = 0;
    }
    shardBytes += size;
    total += tensor.bytes;
    shards.back().push_back(std::move(tensor));
  }

  Status prepareDirectory() {
    const std::string &path = command.directory;
    bool exists = ::access(path.c_str(), F_OK) == 0;
    if (!exists) {
      if (std::error_code error = llvm::sys::fs::create_directories(path))
        return errnoStatus("cannot make the directory", path, error.value());
      created = true;
    }
    DIR *handle = ::opendir(path.c_str());
    if (!handle)
      return errnoStatus("cannot write to the directory", path, errno);
    bool empty = true;
    while (const dirent *entry = ::readdir(handle))
      empty &= std::string_view(entry->d_name) == "." || std::string_view(entry->d_name) == "..";
    ::closedir(handle);
    if (!empty)
      return invalid("the directory '", path, "' is not empty; name a new one");
    struct statvfs disk;
    if (!command.sparse && ::statvfs(path.c_str(), &disk) == 0) {
      uint64_t available = disk.f_bavail * disk.f_frsize;
      if (total > available) {
        if (created)
          ::rmdir(path.c_str());
        return environment("the checkpoint takes ", total, " bytes (", sizeText(total), "), and '", path, "' has ",
                           available, " (", sizeText(available), ")");
      }
    }
    return {};
  }

  std::string shardName(size_t index) const {
    char text[64];
    std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", index + 1, shards.size());
    return text;
  }

  Expected<OutputFile> createFile(const std::string &name) {
    written.push_back(command.directory + "/" + name);
    return OutputFile::create(written.back());
  }

  Status writeAll() {
    Progress progress("writing", total);
    for (size_t i = 0; i != shards.size(); ++i)
      V4_RETURN_IF_ERROR(writeShard(i, progress));
    V4_RETURN_IF_ERROR(writeIndex());
    // Last: a directory without it is no checkpoint.
    Expected<OutputFile> config = createFile("config.json");
    V4_RETURN_IF_ERROR(config);
    V4_RETURN_IF_ERROR(config->write(configText));
    return config->commit();
  }

  Status writeShard(size_t index, Progress &progress) {
    Shard &shard = shards[index];
    // Wide elements first: every payload is aligned, and nobody has to copy it.
    std::sort(shard.begin(), shard.end(), [](const Tensor &a, const Tensor &b) {
      unsigned left = safetensorsBits(a.info.dtype), right = safetensorsBits(b.info.dtype);
      return left != right ? left > right : a.info.name < b.info.name;
    });
    std::vector<TensorInfo> infos;
    for (const Tensor &tensor : shard)
      infos.push_back(tensor.info);
    Expected<OutputFile> file = createFile(shardName(index));
    V4_RETURN_IF_ERROR(file);
    V4_RETURN_IF_ERROR(file->write(safetensorsHeader(infos)));
    std::vector<std::byte> block(blockBytes);
    for (const Tensor &tensor : shard) {
      if (command.sparse) {
        V4_RETURN_IF_ERROR(file->skip(tensor.bytes));
        continue;
      }
      RandomTensor values(command.seed, tensor.info.name, tensor.info.dtype, tensor.ids);
      for (uint64_t at = 0; at != tensor.bytes;) {
        size_t part = static_cast<size_t>(std::min<uint64_t>(blockBytes, tensor.bytes - at));
        values.fill(at, {block.data(), part});
        V4_RETURN_IF_ERROR(file->write(block.data(), part));
        progress.advance(part);
        at += part;
      }
    }
    return file->commit();
  }

  Status writeIndex() {
    Expected<OutputFile> file = createFile("model.safetensors.index.json");
    V4_RETURN_IF_ERROR(file);
    V4_RETURN_IF_ERROR(file->write(concat("{\n  \"metadata\": {\"total_size\": ", total, "},\n  \"weight_map\": {")));
    bool first = true;
    for (size_t i = 0; i != shards.size(); ++i)
      for (const Tensor &tensor : shards[i]) {
        V4_RETURN_IF_ERROR(file->write(
            concat(first ? "" : ",", "\n    ", json::quoted(tensor.info.name), ": \"", shardName(i), "\"")));
        first = false;
      }
    V4_RETURN_IF_ERROR(file->write("\n  }\n}\n"));
    return file->commit();
  }

  static constexpr size_t blockBytes = size_t(1) << 20;

  const Command &command;
  std::string configText;
  std::vector<Shard> shards;
  std::vector<std::string> written;
  uint64_t shardBytes = 0, total = 0;
  bool created = false;
};

} // namespace

int main(int argc, char **argv) {
  installHandlers("v4-synth");
  ToolSpec tool = toolSpec();
  ParsedOptions options = parseOptions(tool, argc, argv);
  if (options.exit)
    return *options.exit;
  Command command;
  if (std::string wrong = readCommand(options, command); !wrong.empty())
    return usageError(tool, wrong);
  Synthesis synthesis(command);
  if (!synthesis.plan())
    return ExitRejected;
  Status status = synthesis.write();
  return status.ok() ? ExitOk : fail(status);
}
