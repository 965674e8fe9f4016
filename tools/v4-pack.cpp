// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a checkpoint's weights in a module's layouts, so that v4-run maps them instead of packing them at every start.
// Needs nothing of the machine that will run the module.
#include "runtime/Module.h"
#include "runtime/PackedFile.h"
#include "tools/Options.h"
#include "tools/Process.h"

using namespace v4;

namespace {

ToolSpec toolSpec() {
  ToolSpec tool;
  tool.name = "v4-pack";
  tool.summary = "writes weights in a module's layouts, to be mapped by v4-run";
  tool.usage = "M.v4m --weights=CHECKPOINT -o P.safetensors [--threads=N]";
  tool.version = concat("v4-pack ", V4_VERSION_STRING, " (module format 1.0)");
  tool.minPositionals = tool.maxPositionals = 1;
  tool.positionalName = "M.v4m (compile one with v4c)";
  tool.examples = {
      {"v4-pack m.v4m --weights=ckpt -o packed.safetensors", "once for a module and all that have its layouts"},
      {"v4-run m.v4m --weights=packed.safetensors --tokens=1,2,3", "starts without packing"},
  };
  tool.options = {
      {"weights", "CHECKPOINT", "input", "checkpoint directory; every tensor is checked against the module"},
      {"o", "P", "output", "safetensors file; appears under its name when it is complete"},
      {"threads", "N", "run", "threads (default: one per CPU)"},
  };
  tool.footer = "A file serves every module with the same parameters in the same layouts; v4-run says so if not.\n"
                "Exit codes: 0 ok, 1 input rejected, 2 usage, 3 environment (full disk), 70 internal error.";
  return tool;
}

Status pack(const ParsedOptions &options, uint32_t threads) {
  Expected<ModuleFile> module = ModuleFile::read(options.positionals[0]);
  V4_RETURN_IF_ERROR(module);
  std::optional<Progress> progress;
  return writePackedFile(module->root(), options.get("weights"), options.get("o"), threads,
                         [&](uint64_t done, uint64_t total) {
                           if (!progress)
                             progress.emplace("packing", total);
                           progress->reach(done);
                           return true;
                         });
}

} // namespace

int main(int argc, char **argv) {
  installHandlers("v4-pack");
  ToolSpec tool = toolSpec();
  ParsedOptions options = parseOptions(tool, argc, argv);
  if (options.exit)
    return *options.exit;
  for (const char *name : {"weights", "o"})
    if (!options.has(name))
      return usageError(tool, concat(name[1] ? "--" : "-", name, " is missing"));
  uint64_t threads = 0;
  if (options.has("threads") &&
      (!parseUnsigned(options.get("threads"), threads) || threads == 0 || threads > 1024))
    return usageError(tool, concat("--threads=", options.get("threads"), " is not a whole number from 1 to 1024"));
  Status status = pack(options, static_cast<uint32_t>(threads));
  return status.ok() ? ExitOk : fail(status);
}
