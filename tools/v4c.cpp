// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4c: a checkpoint directory or a graph to a module file.

#include "frontend/ImportModel.h"
#include "frontend/Report.h"
#include "lowering/EmitModule.h"
#include "lowering/nvptx/GpuTarget.h"
#include "tools/Options.h"
#include "tools/Registration.h"
#include "tools/TargetFile.h"

#include "mlir/IR/AsmState.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Support/Timing.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

#include <chrono>
#include <csignal>
#include <unistd.h>

using namespace mlir;
using namespace mlir::v4;
using ::v4::ExitCode;
using ::v4::ParsedOptions;
using ::v4::ToolSpec;

static ToolSpec makeTool() {
  ToolSpec tool;
  tool.name = "v4c";
  tool.summary = "compile a DeepSeek-V4 checkpoint or graph to a module";
  tool.usage = "CHECKPOINT|GRAPH.mlir -o M.v4m";
  tool.version = "v4c " V4_VERSION " (LLVM " LLVM_VERSION_STRING ", module format 1.0)";
  tool.positionalName = "CHECKPOINT|GRAPH.mlir";
  tool.minPositionals = 0;
  tool.maxPositionals = 1;
  tool.examples = {
      {"v4c ckpt -o m.v4m", "compile for this CPU"},
      {"v4c ckpt --report", "parameters, weight and state bytes"},
      {"v4c ckpt --layer=csa --compile-to=groups", "print one layer's fusion groups"},
      {"v4c g.mlir --compile-from=groups -o m.v4m", "go on from an edited stage"},
  };
  const char *io = "Input and output", *graph = "Graph", *target = "Target", *stages = "Stages", *info = "Information";
  tool.options = {
      {"o", "FILE", io, "output file; - for standard output"},
      {"f", "", io, "write a module to a terminal"},
      {"prefill", "S,...", graph, "rows of the prefill entries (16,512)"},
      {"slots", "B", graph, "sequences that decode advances together, each with a state of its own (1)"},
      {"max-context", "L", graph, "positions that a sequence may use (config's, at most 4096)"},
      {"logits", "WHICH", graph, "logits of the last row or of all rows (last)", false, {"last", "all"}},
      {"mtp", "", graph, "add the multi-token prediction block"},
      {"layer",
       "KIND",
       graph,
       "one body only, for tests",
       false,
       {"swa", "csa", "hca", "swa-hash", "csa-hash", "hca-hash", "swa-scored", "csa-scored", "hca-scored", "mtp",
        "head"}},
      {"target",
       "TARGET",
       target,
       "cpu, or cpu:PROCESSOR as LLVM names it; a GPU, or emu: for its kernels in the emulator (cpu:native, sm_90a)",
       true,
       {"cpu", "cpu:PROCESSOR", "nvptx", "nvptx:CHIP", "emu", "emu:CHIP"}},
      {"tune-for", "FILE", target, "figures of the machine, from v4-bench --probe --write-target=FILE"},
      {"numerics",
       "MODE",
       graph,
       "bf16 between ops, the official rounding points, or nothing below fp32 (fast)",
       false,
       {"fast", "reference", "f32"}},
      {"kv",
       "FORMAT",
       graph,
       "format of the cache; f32 goes with --numerics=f32 and nothing else (packed)",
       false,
       {"packed", "bf16", "f32"}},
      {"plan", "NAME", target, "fusion strategy (basic)", false, {"none", "basic"}},
      {"compile-to",
       "STAGE",
       stages,
       "stop at the end of a stage (module)",
       false,
       {"model", "graph", "groups", "tiles", "buffers", "kernels", "module"}},
      {"compile-from",
       "STAGE",
       stages,
       "the graph is the end of this stage (model)",
       false,
       {"model", "graph", "groups", "tiles", "buffers", "kernels"}},
      {"dump-stages", "DIR", stages, "write the IR at the end of every stage to DIR/N.STAGE.mlir"},
      {"report", "[json]", info, "print parameters, weight bytes and state bytes", false, {"", "json"}},
      {"contexts", "L,...", info, "context lengths of the report (4096,1048576)"},
      {"list",
       "WHAT",
       info,
       "print what there is",
       false,
       {"stages", "plans", "passes", "targets", "ops", "remark-reasons"}},
  };
  tool.passThrough = {"--mlir-"};
  tool.footer =
      "Every --mlir-* flag of mlir-opt that prints, times or reproduces is accepted (v4-opt --help lists them).\n"
      "A directory with only config.json compiles to a module that waits for weights of the official layout.\n";
  return tool;
}

namespace {
/// What the command line asks for, checked.
struct Job {
  std::string input, output;
  ImportOptions import;
  std::string numerics, kv; // as spelled, or the defaults
  bool numericsGiven = false, kvGiven = false;
  bool maxContextGiven = false;
  LoweringOptions lowering;
  std::vector<std::string> targets; // "cpu:native", "nvptx:sm_90a"; empty: not said
  std::string tuneFor;
  Stage from = Stage::Model, to = Stage::Module;
  std::string dumpDir;
  bool report = false, reportJson = false, force = false;
  std::vector<int64_t> contexts = {4096, 1048576};
};
} // namespace

static std::optional<std::vector<int64_t>> positiveList(StringRef text) {
  std::vector<uint64_t> values;
  if (!::v4::parseUnsignedList(std::string_view(text.data(), text.size()), values) || values.empty())
    return std::nullopt;
  std::vector<int64_t> result;
  for (uint64_t value : values) {
    if (value == 0 || value > (uint64_t(1) << 40))
      return std::nullopt;
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

/// Fills `job`; the returned text is a usage error.
static std::string readOptions(const ParsedOptions &options, Job &job) {
  if (options.positionals.empty())
    return "no input; expected a checkpoint directory or a .mlir file";
  job.input = options.positionals[0];
  std::string numerics = options.get("numerics", "fast"), kv = options.get("kv", numerics == "f32" ? "f32" : "packed");
  if ((numerics == "f32") != (kv == "f32"))
    return "--kv=" + kv + " does not go with --numerics=" + numerics + "; accepted: " +
           (numerics == "f32" ? "f32" : "packed, bf16");
  job.import.form = {numerics == "f32" ? Numerics::F32 : numerics == "reference" ? Numerics::Reference : Numerics::Fast,
                     kv == "f32" ? KvFormat::F32 : kv == "bf16" ? KvFormat::BF16 : KvFormat::Packed};
  job.numerics = numerics;
  job.kv = kv;
  job.numericsGiven = options.has("numerics");
  job.kvGiven = options.has("kv");
  job.import.logitsAll = options.get("logits", "last") == "all";
  job.import.mtp = options.has("mtp");
  job.import.layer = options.get("layer");
  job.lowering.plan = options.get("plan", "basic");
  job.force = options.has("f");
  for (std::string target : options.all("target")) {
    if (target == "cpu")
      target = "cpu:native";
    else if (target == "nvptx" || target == "emu")
      target += ":" + kDefaultChip.str();
    if (!StringRef(target).starts_with("cpu:") && !findGpuTarget(target)) {
      std::string chips;
      for (const GpuTarget &gpu : getGpuTargets())
        chips += (chips.empty() ? "" : ", ") + gpu.chip.str();
      return "--target=" + target + ": unknown GPU; accepted: " + chips;
    }
    if (llvm::is_contained(job.targets, target))
      return "--target=" + target + " is given twice";
    if (StringRef(target).starts_with("cpu:") &&
        llvm::any_of(job.targets, [](StringRef other) { return other.starts_with("cpu:"); }))
      return "--target=" + target + ": a module holds code for one processor";
    job.targets.push_back(target);
  }
  job.tuneFor = options.get("tune-for");
  if (!job.tuneFor.empty() && !job.targets.empty() &&
      llvm::none_of(job.targets, [](StringRef target) { return target.starts_with("cpu:"); }))
    return "--tune-for holds figures of a CPU, and no --target is one";
  if (options.has("prefill")) {
    auto list = positiveList(options.get("prefill"));
    if (!list)
      return "--prefill=" + options.get("prefill") + ": expected row counts above 0, separated by commas";
    job.import.prefill.assign(list->begin(), list->end());
  }
  if (options.has("slots")) {
    auto list = positiveList(options.get("slots"));
    if (!list || list->size() != 1)
      return "--slots=" + options.get("slots") + ": expected a number of sequences above 0";
    job.import.slots = list->front();
  }
  if (options.has("max-context")) {
    auto list = positiveList(options.get("max-context"));
    if (!list || list->size() != 1)
      return "--max-context=" + options.get("max-context") + ": expected a number of positions above 0";
    job.import.maxContext = list->front();
    job.maxContextGiven = true;
  }
  job.from = *parseStage(options.get("compile-from", "model"));
  job.to = *parseStage(options.get("compile-to", "module"));
  if (job.to < job.from)
    return "--compile-to=" + options.get("compile-to") + " comes before --compile-from=" + options.get("compile-from");
  if (job.targets.size() > 1 && (job.from > Stage::Groups || (job.to > Stage::Groups && job.to < Stage::Module)))
    return "stages behind 'groups' belong to one target, and " + std::to_string(job.targets.size()) + " are given";
  job.dumpDir = options.get("dump-stages");
  job.report = options.has("report");
  job.reportJson = options.get("report") == "json";
  if (options.has("contexts")) {
    auto list = positiveList(options.get("contexts"));
    if (!list)
      return "--contexts=" + options.get("contexts") + ": expected context lengths, separated by commas";
    job.contexts = *list;
  }
  job.output = options.get("o", job.to == Stage::Module && !job.report ? "" : "-");
  if (job.output.empty())
    return "-o is missing: the module needs a file name, or - for standard output";
  return "";
}

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

/// A path that cannot be written as it is was a bad argument; a full or failing disk is not the caller's fault.
static int codeOf(std::error_code error) {
  return error == std::errc::is_a_directory || error == std::errc::no_such_file_or_directory ||
                 error == std::errc::not_a_directory || error == std::errc::permission_denied ||
                 error == std::errc::filename_too_long
             ? ExitCode::ExitRejected
             : ExitCode::ExitEnvironment;
}

static int fail(const Twine &message, int code) {
  llvm::errs() << "v4c: error: " << message << "\n";
  return code;
}

static int failDirectory(StringRef path) {
  return fail("'" + path + "' is a directory; expected a file", ExitCode::ExitRejected);
}

static int flushStandardOutput() {
  llvm::outs().flush();
  if (!llvm::outs().has_error())
    return ExitCode::ExitOk;
  std::string message = llvm::outs().error().message();
  llvm::outs().clear_error();
  return fail("cannot write to standard output: " + message, ExitCode::ExitEnvironment);
}

/// Writes to a temporary file beside `path` and renames it, so that a failure leaves nothing and readers see all or
/// nothing. Special files (/dev/null, pipes) are written in place.
static int writeOutput(StringRef path, StringRef bytes) {
  if (path == "-") {
    llvm::outs() << bytes;
    return flushStandardOutput();
  }
  if (llvm::sys::fs::is_directory(path))
    return failDirectory(path);
  llvm::sys::fs::file_status status;
  bool special = !llvm::sys::fs::status(path, status) && status.type() != llvm::sys::fs::file_type::regular_file;
  std::string written = path.str();
  int fd = -1;
  std::error_code error;
  if (special) {
    error = llvm::sys::fs::openFileForWrite(path, fd, llvm::sys::fs::CD_OpenExisting);
  } else {
    SmallString<128> name;
    error = llvm::sys::fs::createUniqueFile(path + ".%%%%%%.tmp", fd, name, llvm::sys::fs::OF_None, 0644);
    written = name.str().str();
    llvm::sys::RemoveFileOnSignal(written);
  }
  if (error)
    return fail("cannot write '" + path + "': " + error.message(), codeOf(error));
  {
    llvm::raw_fd_ostream os(fd, /*shouldClose=*/true);
    os << bytes;
    os.close();
    error = os.error();
    os.clear_error();
  }
  if (!error && !special)
    error = llvm::sys::fs::rename(written, path);
  if (!special) {
    if (error)
      llvm::sys::fs::remove(written);
    llvm::sys::DontRemoveFileOnSignal(written);
  }
  if (error)
    return fail("cannot write '" + path + "': " + error.message(), codeOf(error));
  return ExitCode::ExitOk;
}

static std::string printModule(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  module.print(os);
  os << "\n";
  return text;
}

//===----------------------------------------------------------------------===//
// Compilation
//===----------------------------------------------------------------------===//

/// Brackets of a text nested deeper than this crash the parser of MLIR, which is not made for hostile input.
constexpr unsigned kMaxNesting = 256;

static bool isTooDeep(StringRef text) {
  unsigned depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
      continue;
    }
    if (c == '"')
      inString = true;
    else if (c == '/' && i + 1 < text.size() && text[i + 1] == '/')
      i = std::min(text.find('\n', i), text.size());
    else if (StringRef("([{<").contains(c) && ++depth > kMaxNesting)
      return true;
    else if (StringRef(")]}").contains(c) && depth > 0)
      --depth;
    else if (c == '>' && depth > 0 && (i == 0 || text[i - 1] != '-'))
      --depth;
  }
  return false;
}

/// "file:line:col: error: text" and its notes on stderr; parts of the location that are not known are left out.
static void printDiagnostic(Diagnostic &diagnostic) {
  auto print = [](Location loc, StringRef severity, const Twine &text) {
    if (auto file = loc->findInstanceOf<FileLineColLoc>()) {
      llvm::errs() << file.getFilename().getValue() << ":";
      if (file.getLine())
        llvm::errs() << file.getLine() << ":" << file.getColumn() << ":";
      llvm::errs() << " ";
    } else {
      llvm::errs() << "v4c: ";
      if (auto name = loc->findInstanceOf<NameLoc>())
        llvm::errs() << "kernel " << name.getName().getValue() << ": ";
    }
    llvm::errs() << severity << ": " << text << "\n";
  };
  auto severity = [](DiagnosticSeverity value) -> StringRef {
    switch (value) {
    case DiagnosticSeverity::Error:
      return "error";
    case DiagnosticSeverity::Warning:
      return "warning";
    default:
      return "note";
    }
  };
  print(diagnostic.getLocation(), severity(diagnostic.getSeverity()), diagnostic.str());
  for (Diagnostic &note : diagnostic.getNotes())
    print(note.getLocation(), "note", note.str());
}

/// The graph of a failed compilation as a file that fails the same way, and the command for it. Holds no weights.
static void writeReproducer(const Job &job) {
  MLIRContext context;
  loadFrontendDialects(&context);
  ScopedDiagnosticHandler silent(&context, [](Diagnostic &) { return success(); });
  FailureOr<Config> config = readConfig(&context, job.input);
  if (failed(config))
    return;
  FailureOr<std::unique_ptr<Checkpoint>> checkpoint = readCheckpoint(&context, job.input);
  if (failed(checkpoint))
    return;
  FailureOr<OwningOpRef<ModuleOp>> module = importModel(&context, *config, checkpoint->get(), job.import);
  SmallString<128> path;
  int fd = -1;
  if (failed(module) || llvm::sys::fs::createTemporaryFile("v4c-reproducer", "mlir", fd, path))
    return;
  {
    llvm::raw_fd_ostream os(fd, /*shouldClose=*/true);
    os << printModule(**module);
    os.close();
    if (os.has_error()) {
      os.clear_error();
      llvm::sys::fs::remove(path);
      return;
    }
  }
  std::string targets;
  for (const std::string &target : job.targets)
    targets += " --target=" + target;
  llvm::errs() << "v4c: note: '" << path << "' holds the graph (no weights); this command fails the same way:\n  v4c "
               << path << " --plan=" << job.lowering.plan << targets << " -o /dev/null\n"
               << "v4c: note: --mlir-pass-pipeline-crash-reproducer=FILE narrows it to one pass\n";
}

namespace {
class Compilation {
public:
  Compilation(MLIRContext &context, const Job &job) : context(context), job(job) {}

  int run() {
    bool isDirectory = llvm::sys::fs::is_directory(job.input);
    ScopedDiagnosticHandler printer(&context, [](Diagnostic &diagnostic) {
      printDiagnostic(diagnostic);
      return success();
    });
    // What cannot be written is said before the work, where it can be known.
    if (job.to == Stage::Module && !job.report && job.output == "-" && isatty(STDOUT_FILENO) && !job.force)
      return fail("a module is binary and standard output is a terminal; use -o FILE, or -f to write it anyway",
                  ExitCode::ExitUsage);
    if (llvm::sys::fs::is_directory(job.output))
      return failDirectory(job.output);
    if (int code = isDirectory ? import() : parse())
      return code;
    if (job.report)
      return ExitCode::ExitOk;
    fromCheckpoint = isDirectory;

    // A stage that was made for a GPU says so.
    auto made = (*module)->getAttrOfType<StringAttr>("v4.target");
    if (job.targets.empty())
      job.targets = {made ? made.str() : "cpu:native"};
    if (job.from > Stage::Groups) {
      std::string wanted = StringRef(job.targets[0]).starts_with("cpu:") ? "cpu" : job.targets[0];
      if (StringRef found = made ? made.getValue() : "cpu"; found != wanted)
        return fail("--target=" + job.targets[0] + ": '" + job.input + "' was made for " + found,
                    ExitCode::ExitRejected);
    }
    std::vector<EmitTarget> targets;
    for (StringRef name : job.targets) {
      EmitTarget target{{}, name.starts_with("cpu:") ? "cpu" : name.str(), {}};
      if (name.consume_front("cpu:") && job.to >= Stage::Kernels) {
        FailureOr<CpuTarget> parsed = CpuTarget::parse(&context, name);
        if (failed(parsed))
          return ExitCode::ExitUsage;
        target.cpu = *parsed;
        if (!job.tuneFor.empty()) {
          FailureOr<MachineFigures> figures = readTargetFile(&context, job.tuneFor);
          if (failed(figures))
            return ExitCode::ExitRejected;
          target.cpu.fastBf16Dot = figures->fastBf16Dot;
        }
      }
      targets.push_back(target);
    }
    if (!job.dumpDir.empty())
      if (std::error_code error = llvm::sys::fs::create_directories(job.dumpDir))
        return fail("cannot make the folder '" + job.dumpDir + "': " + error.message(), codeOf(error));
    if (int code = runStages(Stage::Model, Stage::Groups))
      return code;
    // From here on every target has a graph of its own.
    std::vector<OwningOpRef<ModuleOp>> graphs;
    for (EmitTarget &target : targets)
      graphs.push_back(&target == &targets.back() ? std::move(module) : OwningOpRef<ModuleOp>(module->clone()));
    for (auto [target, graph] : llvm::zip_equal(targets, graphs)) {
      job.lowering.target = target.name;
      job.lowering.features =
          target.name == "cpu" && job.to >= Stage::Kernels ? llvm::join(target.cpu.templateFeatures(), ",") : "";
      module = std::move(graph);
      dumpFolder = job.dumpDir;
      if (targets.size() > 1 && !job.dumpDir.empty()) {
        dumpFolder += "/" + target.name;
        if (std::error_code error = llvm::sys::fs::create_directories(dumpFolder))
          return fail("cannot make the folder '" + dumpFolder + "': " + error.message(), codeOf(error));
      }
      if (int code = runStages(Stage::Tiles, Stage::Kernels))
        return code;
      graph = std::move(module);
      target.module = *graph;
    }
    if (job.to != Stage::Module)
      return writeOutput(job.output, printModule(*graphs.front()));

    EmitOptions emit;
    ModuleOp module = targets.front().module;
    auto plan = module->getAttrOfType<StringAttr>("v4.plan");
    emit.plan = plan ? plan.str() : "by hand";
    emit.numerics = job.numerics;
    emit.kv = job.kv;
    emit.options = {"--kv=" + emit.kv, "--numerics=" + emit.numerics, "--plan=" + emit.plan};
    for (const EmitTarget &target : targets) {
      emit.options.push_back("--target=" + target.name + (target.name == "cpu" ? ":" + target.cpu.cpu : ""));
      // Of the file, what kernels depend on.
      if (target.cpu.fastBf16Dot)
        emit.options.push_back(*target.cpu.fastBf16Dot ? "--tune-for=fast-bf16-dot" : "--tune-for=slow-bf16-dot");
    }
    if (auto options = module->getAttrOfType<ArrayAttr>("v4.options"))
      for (auto option : options.getAsRange<StringAttr>())
        emit.options.push_back(option.str());
    llvm::sort(emit.options);
    showProgress("module");
    bool environment = false;
    FailureOr<std::string> bytes = emitModule(targets, emit, environment);
    if (failed(bytes))
      return environment ? ExitCode::ExitEnvironment : internalOrRejected("module");
    return writeOutput(job.output, *bytes);
  }

private:
  int import() {
    if (job.from != Stage::Model)
      return fail("--compile-from needs a .mlir file, and '" + job.input + "' is a directory", ExitCode::ExitUsage);
    FailureOr<Config> config = readConfig(&context, job.input);
    if (failed(config))
      return ExitCode::ExitRejected;
    FailureOr<std::unique_ptr<Checkpoint>> checkpoint = readCheckpoint(&context, job.input);
    if (failed(checkpoint))
      return ExitCode::ExitRejected;
    if (!job.maxContextGiven)
      job.import.maxContext = std::min(job.import.maxContext, config->maxPositions);
    else if (job.import.maxContext > config->maxPositions)
      emitWarning(UnknownLoc::get(&context))
          << "--max-context=" << job.import.maxContext << " is above max_position_embeddings (" << config->maxPositions
          << ") of " << config->file;
    FailureOr<OwningOpRef<ModuleOp>> imported = importModel(&context, *config, checkpoint->get(), job.import);
    if (failed(imported))
      return ExitCode::ExitRejected;
    module = std::move(*imported);
    // The options of the graph stay with it, so that a module made from a dumped stage is the same.
    std::string prefill;
    for (int64_t rows : job.import.prefill)
      prefill += (prefill.empty() ? "--prefill=" : ",") + std::to_string(rows);
    std::vector<std::string> options = {"--logits=" + std::string(job.import.logitsAll ? "all" : "last"),
                                        "--max-context=" + std::to_string(job.import.maxContext), prefill,
                                        "--slots=" + std::to_string(job.import.slots)};
    if (job.import.mtp)
      options.push_back("--mtp");
    Builder b(&context);
    (*module)->setAttr("v4.options", b.getStrArrayAttr(SmallVector<StringRef>(options.begin(), options.end())));
    if (!job.report)
      return ExitCode::ExitOk;
    FailureOr<Report> report = makeReport(*module, *config, checkpoint->get(), job.contexts);
    if (failed(report))
      return ExitCode::ExitRejected;
    std::string text;
    llvm::raw_string_ostream os(text);
    job.reportJson ? printReportJson(*report, os) : printReport(*report, os);
    return writeOutput(job.output, text);
  }

  int parse() {
    if (job.report)
      return fail("--report needs a checkpoint directory, and '" + job.input + "' is none", ExitCode::ExitRejected);
    auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(job.input);
    if (!buffer)
      return fail("cannot read '" + job.input + "': " + buffer.getError().message(), ExitCode::ExitRejected);
    if (isTooDeep((*buffer)->getBuffer()))
      return fail("'" + job.input + "' nests brackets deeper than " + Twine(kMaxNesting) + "; graphs of v4c do not",
                  ExitCode::ExitRejected);
    sources.AddNewSourceBuffer(std::move(*buffer), llvm::SMLoc());
    handler = std::make_unique<SourceMgrDiagnosticHandler>(sources, &context);
    module = parseSourceFile<ModuleOp>(sources, &context);
    if (!module)
      return ExitCode::ExitRejected;
    // A graph has its numerics in its types.
    for (auto [name, value, given] :
         {std::tuple("numerics", &job.numerics, job.numericsGiven), {"kv", &job.kv, job.kvGiven}}) {
      auto made = (*module)->getAttrOfType<StringAttr>(("v4." + Twine(name)).str());
      if (made && given && made.getValue() != *value)
        return fail("--" + Twine(name) + "=" + *value + ": '" + job.input + "' was made with --" + name + "=" +
                        made.getValue(),
                    ExitCode::ExitRejected);
      if (made)
        *value = made.str();
    }
    return ExitCode::ExitOk;
  }

  /// One line on a terminal once the work takes longer than people wait.
  void showProgress(StringRef stage) {
    if (isatty(STDERR_FILENO) && std::chrono::steady_clock::now() - start > std::chrono::seconds(2))
      llvm::errs() << "v4c: stage " << stage << "\n";
  }

  int runStages(Stage first, Stage last) {
    for (const StageInfo &info : getStages())
      if (info.stage >= std::max(first, job.from) && info.stage <= std::min(last, job.to))
        if (int code = runStage(info.stage))
          return code;
    return ExitCode::ExitOk;
  }

  int runStage(Stage stage) {
    showProgress(stageName(stage));
    PassManager pm(&context);
    if (failed(applyPassManagerCLOptions(pm)))
      return ExitCode::ExitUsage;
    applyDefaultTimingPassManagerCLOptions(pm);
    if (stage == job.from)
      pm.addPass(createVerifyOnly(stage));
    else
      buildStage(pm, stage, job.lowering);
    if (failed(pm.run(*module)))
      return internalOrRejected(stageName(stage));
    if (stage == Stage::Graph) {
      (*module)->removeAttr("v4.graph_hash"); // of a dumped file; it may have been edited
      std::string text = printModule(*module);
      (*module)->setAttr("v4.graph_hash",
                         StringAttr::get(&context, llvm::utohexstr(llvm::xxh3_64bits(text), true, 16)));
    }
    // A later run that goes on from a dumped stage records the plan that made the groups, not its own default.
    if (stage == Stage::Groups && stage != job.from)
      (*module)->setAttr("v4.plan", StringAttr::get(&context, job.lowering.plan));
    if (stage == Stage::Tiles && job.lowering.target != "cpu")
      (*module)->setAttr("v4.target", StringAttr::get(&context, job.lowering.target));
    if (job.dumpDir.empty())
      return ExitCode::ExitOk;
    std::string path = (dumpFolder + "/" + Twine(static_cast<int>(stage)) + "." + stageName(stage) + ".mlir").str();
    return writeOutput(path, printModule(*module));
  }

  static std::unique_ptr<Pass> createVerifyOnly(Stage stage);

  /// A graph that a person wrote or edited is at fault itself; one that was imported is not.
  int internalOrRejected(StringRef stage) {
    if (!fromCheckpoint)
      return ExitCode::ExitRejected;
    llvm::errs() << "v4c: internal error in stage '" << stage << "'. This is a bug of v4c.\n";
    writeReproducer(job);
    return ExitCode::ExitInternal;
  }

  MLIRContext &context;
  Job job;
  llvm::SourceMgr sources;
  std::unique_ptr<SourceMgrDiagnosticHandler> handler;
  OwningOpRef<ModuleOp> module;
  std::string dumpFolder = job.dumpDir; // of the target at hand
  bool fromCheckpoint = false;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};
} // namespace

std::unique_ptr<Pass> Compilation::createVerifyOnly(Stage stage) { return createStageVerifier(stage); }

static int printList(StringRef what, MLIRContext &context) {
  if (what == "stages")
    for (const StageInfo &info : getStages())
      llvm::outs() << info.name << "\t" << info.summary << "\n";
  else if (what == "plans")
    for (StringRef name : getFusionStrategies())
      llvm::outs() << name << "\n";
  else if (what == "targets")
    llvm::outs() << "cpu\tx86-64; cpu:native, cpu:x86-64-v2, cpu:x86-64-v3, cpu:x86-64-v4 or an LLVM processor name\n"
                    "nvptx\tNVIDIA GPUs; nvptx:sm_80, nvptx:sm_90a, nvptx:sm_100a, nvptx:sm_120\n"
                    "emu\tthe kernels of nvptx on this CPU, checked while they run; emu:sm_90a and so on\n";
  else if (what == "remark-reasons")
    llvm::outs() << "fused\tpassed: the op joined the group of its consumer\n"
                    "cost.recompute\tmissed: several groups consume the op, and each would have to compute it\n";
  else if (what == "passes") {
    registerV4Passes();
    registerV4LoweringPasses();
    printRegisteredPasses();
  }
  else
    for (RegisteredOperationName name : context.getRegisteredOperationsByDialect("v4"))
      llvm::outs() << name.getStringRef() << "\n";
  return flushStandardOutput();
}

//===----------------------------------------------------------------------===//
// Ends other than by return
//===----------------------------------------------------------------------===//

/// For handlers: nothing that allocates or locks.
[[noreturn]] static void endWith(StringRef message, int code) {
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, message.data(), message.size());
  ::_exit(code);
}

/// The last resort: crashes of threads that the recovery of main does not cover.
static void onCrash(int) {
  endWith("v4c: internal error: the compiler crashed. This is a bug of v4c.\n"
          "v4c: note: --mlir-disable-threading writes a reproducer\n",
          ExitCode::ExitInternal);
}

static void onOutOfMemory(void *, const char *, bool) {
  endWith("v4c: error: out of memory\n", ExitCode::ExitEnvironment);
}

/// A tool never ends by a signal of its own making, and an interrupted one leaves no half-written file.
static void installHandlers() {
  // Removes the output being written first (writeOutput), and gives the crash handlers a stack of their own.
  llvm::sys::SetInterruptFunction([] { ::_exit(ExitCode::ExitInterrupted); });
  std::signal(SIGPIPE, SIG_IGN); // a closed pipe and a limit of file size become write errors
  std::signal(SIGXFSZ, SIG_IGN);
  llvm::install_bad_alloc_error_handler(onOutOfMemory);
  llvm::install_out_of_memory_new_handler();
  constexpr int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
  for (int signal : crashes)
    std::signal(signal, onCrash);
  llvm::CrashRecoveryContext::Enable();
  // The recovery's handlers cannot run on a stack that has overflowed.
  for (int signal : crashes) {
    struct sigaction action;
    ::sigaction(signal, nullptr, &action);
    action.sa_flags |= SA_ONSTACK;
    ::sigaction(signal, &action, nullptr);
  }
}

int main(int argc, char **argv) {
  installHandlers();
  ToolSpec tool = makeTool();
  ParsedOptions options = ::v4::parseOptions(tool, argc, argv);
  if (options.exit)
    return *options.exit;

  registerAsmPrinterCLOptions();
  registerMLIRContextCLOptions();
  registerPassManagerCLOptions();
  registerDefaultTimingManagerCLOptions();
  std::vector<const char *> flags = {"v4c"};
  for (const std::string &flag : options.passedThrough)
    flags.push_back(flag.c_str());
  std::string errors;
  llvm::raw_string_ostream errorStream(errors);
  if (!llvm::cl::ParseCommandLineOptions(flags.size(), flags.data(), "", &errorStream)) {
    // The first line, less LLVM's hints, which name flags that v4c does not have.
    StringRef message = StringRef(errors).ltrim().split('\n').first.split("  Try: ").first;
    message.consume_front("v4c: ");
    return ::v4::usageError(tool, message.str());
  }

  DialectRegistry registry;
  registerEverything(registry);
  MLIRContext context(registry);
  // A diagnostic names file and value; the whole operation behind it may be a function of thousands of arguments.
  context.printOpOnDiagnostic(false);
  context.loadDialect<V4Dialect>();
  loadFrontendDialects(&context);
  if (options.has("list"))
    return printList(options.get("list"), context);

  Job job;
  std::string error = readOptions(options, job);
  if (!error.empty())
    return ::v4::usageError(tool, error);
  // A crash of the compiler is an exit code with a report, never a signal.
  llvm::CrashRecoveryContext recovery;
  int code = ExitCode::ExitInternal;
  if (!recovery.RunSafely([&] { code = Compilation(context, job).run(); })) {
    // Locks and threads are in the state of the crash: the report has a time limit, and nothing is torn down.
    std::signal(SIGALRM, onCrash);
    ::alarm(20);
    llvm::errs() << "v4c: internal error: the compiler crashed. This is a bug of v4c.\n";
    if (!llvm::sys::fs::is_directory(job.input) || !recovery.RunSafely([&] { writeReproducer(job); }))
      llvm::errs() << "v4c: note: please report the command line and the graph\n";
    endWith("", ExitCode::ExitInternal);
  }
  return code;
}
