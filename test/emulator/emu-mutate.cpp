// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// emu-mutate KERNEL.mlir WORDS [-equivalent=FILE] [-list]: changes a kernel at the NVVM level op by op and asks of every changed kernel that the
// emulator reports a fault or that the launch's result is wrong (Launch.h has the words). A mutant that does neither must be listed in FILE,
// one line each, `NAME # why it computes the same`; a listed mutant that is caught is an error too, as the list would rot.
//
// Each mutant is compiled and run in a child process with a time limit: a loop that never ends is caught as well.

#include "Launch.h"
#include "emulator/v4emu.h"
#include "lowering/emu/EmuImage.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"

#include <functional>
#include <map>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace mlir;
using namespace ::v4::test;

static llvm::cl::opt<std::string> input(llvm::cl::Positional, llvm::cl::Required);
static llvm::cl::list<std::string> launchWords(llvm::cl::Positional, llvm::cl::desc("launch words"));
static llvm::cl::opt<std::string> equivalentFile("equivalent");
static llvm::cl::opt<bool> list("list", llvm::cl::desc("print every mutant and what became of it"));
static llvm::cl::opt<std::string> only("only", llvm::cl::desc("run this mutant alone and say what it does"));
static llvm::cl::opt<unsigned> jobs("j", llvm::cl::init(2));

namespace {

struct Mutation {
  std::string kind, name; // the class of bug, and a name that says where
  std::function<void()> apply;
};

enum Verdict { Fault = 1, Wrong = 2, Hang = 3, Invalid = 4, Survived = 5 };

class Mutator {
public:
  explicit Mutator(MLIRContext *context) : b(context) {}

  std::vector<Mutation> mutations;

  void collect(Operation *op) {
    unsigned number = ordinals[op->getName().getStringRef().str()]++;
    std::string place = op->getName().getStringRef().str() + "." + std::to_string(number);
    auto add = [&](StringRef kind, const std::string &what, std::function<void()> apply) {
      mutations.push_back({kind.str(), place + ":" + what, std::move(apply)});
    };
    llvm::TypeSwitch<Operation *>(op)
        .Case<NVVM::Barrier0Op, NVVM::BarrierOp, NVVM::SyncWarpOp>([&](Operation *) {
          add("barrier", "drop", [op] { op->erase(); });
          add("divergence", "guard", [this, op] { guard(op); });
        })
        .Case([&](NVVM::BarrierArriveOp) { add("barrier", "drop", [op] { op->erase(); }); })
        .Case([&](NVVM::CpAsyncWaitGroupOp wait) {
          add("async", "drop", [op] { op->erase(); });
          add("async", "later", [this, wait]() mutable { wait.setNAttr(b.getI32IntegerAttr(int32_t(wait.getN()) + 1)); });
        })
        .Case([&](NVVM::CpAsyncCommitGroupOp) { add("async", "drop", [op] { op->erase(); }); })
        .Case([&](NVVM::CpAsyncOp) { add("async", "drop", [op] { op->erase(); }); })
        .Case([&](LLVM::StoreOp store) {
          bool shared = cast<LLVM::LLVMPointerType>(store.getAddr().getType()).getAddressSpace() == 3;
          add(shared ? "stale" : "missing", "drop", [op] { op->erase(); });
          promise(op, add);
        })
        .Case([&](LLVM::LoadOp) { promise(op, add); })
        .Case([&](LLVM::AtomicRMWOp atomic) {
          add("missing", "drop", [this, atomic]() mutable {
            b.setInsertionPoint(atomic);
            auto load = LLVM::LoadOp::create(b, atomic.getLoc(), atomic.getType(), atomic.getPtr(), 4);
            atomic.replaceAllUsesWith(load.getResult());
            atomic.erase();
          });
          if (atomic.getBinOp() == LLVM::AtomicBinOp::add)
            add("atomic", "plain", [this, atomic]() mutable {
              b.setInsertionPoint(atomic);
              auto load = LLVM::LoadOp::create(b, atomic.getLoc(), atomic.getType(), atomic.getPtr(), 4);
              Value sum = LLVM::AddOp::create(b, atomic.getLoc(), load, atomic.getVal());
              LLVM::StoreOp::create(b, atomic.getLoc(), sum, atomic.getPtr(), 4);
              atomic.replaceAllUsesWith(load.getResult());
              atomic.erase();
            });
        })
        .Case([&](NVVM::ShflOp shuffle) {
          add("lane", "own-value", [shuffle]() mutable {
            if (shuffle.getType() == shuffle.getVal().getType())
              shuffle.getResult().replaceAllUsesWith(shuffle.getVal());
          });
          add("lane", "other-kind", [this, shuffle]() mutable {
            NVVM::ShflKind kind = shuffle.getKind() == NVVM::ShflKind::idx ? NVVM::ShflKind::bfly : NVVM::ShflKind::idx;
            shuffle.setKindAttr(NVVM::ShflKindAttr::get(b.getContext(), kind));
          });
        })
        .Case([&](NVVM::MmaOp mma) {
          unsigned a = mma.getOperandA().size(), bCount = mma.getOperandB().size();
          for (unsigned i = 0; i + 1 < a; ++i)
            add("fragment", "swap-a" + std::to_string(i), [op, i] { swap(op, i, i + 1); });
          if (bCount == 2)
            add("fragment", "swap-b", [op, a] { swap(op, a, a + 1); });
          for (unsigned i = 0; i != mma.getOperandC().size(); i += 2)
            add("fragment", "swap-c" + std::to_string(i), [op, a, bCount, i] { swap(op, a + bCount + i, a + bCount + i + 1); });
        })
        .Case([&](NVVM::LdMatrixOp load) {
          add("fragment", "transpose", [this, load]() mutable {
            load.setLayoutAttr(NVVM::MMALayoutAttr::get(b.getContext(), load.getLayout() == NVVM::MMALayout::row ? NVVM::MMALayout::col
                                                                                                                 : NVVM::MMALayout::row));
          });
        })
        .Case<LLVM::SubOp, LLVM::ShlOp, LLVM::LShrOp, LLVM::UDivOp, LLVM::URemOp, LLVM::FSubOp>(
            [&](Operation *) { add("operand", "swap", [op] { swap(op, 0, 1); }); })
        .Case([&](LLVM::SelectOp) { add("operand", "swap", [op] { swap(op, 1, 2); }); })
        .Case([&](LLVM::ICmpOp compare) {
          auto other = neighbour(compare.getPredicate());
          add("bound", "neighbour", [compare, other]() mutable { compare.setPredicate(other); });
        })
        .Case([&](LLVM::ConstantOp constant) {
          auto value = dyn_cast<IntegerAttr>(constant.getValue());
          if (!value || value.getType().isInteger(1) || constant.use_empty())
            return;
          APInt n = value.getValue();
          for (int delta : {1, -1})
            add("constant", std::string(delta > 0 ? "plus" : "minus"),
                [constant, value, n, delta]() mutable { constant.setValueAttr(IntegerAttr::get(value.getType(), n + delta)); });
        })
        .Case<LLVM::AddOp, LLVM::MulOp>([&](Operation *) {
          Type type = op->getResult(0).getType();
          if (type.isInteger(64))
            add("overflow", "narrow", [this, op, type] {
              b.setInsertionPointAfter(op);
              Value narrow = LLVM::TruncOp::create(b, op->getLoc(), b.getIntegerType(8), op->getResult(0));
              Value wide = LLVM::SExtOp::create(b, op->getLoc(), type, narrow);
              op->getResult(0).replaceAllUsesExcept(wide, narrow.getDefiningOp());
            });
        });
  }

private:
  template <typename Add> void promise(Operation *op, Add add) {
    auto attribute = op->getAttrOfType<IntegerAttr>("alignment");
    if (attribute && attribute.getInt() < 16 && op->getNumRegions() == 0)
      add("alignment", "stronger", [this, op, attribute] { op->setAttr("alignment", b.getI64IntegerAttr(attribute.getInt() * 4)); });
  }

  static void swap(Operation *op, unsigned i, unsigned j) {
    Value first = op->getOperand(i);
    op->setOperand(i, op->getOperand(j));
    op->setOperand(j, first);
  }

  static LLVM::ICmpPredicate neighbour(LLVM::ICmpPredicate p) {
    switch (p) {
    case LLVM::ICmpPredicate::eq:
      return LLVM::ICmpPredicate::ne;
    case LLVM::ICmpPredicate::ne:
      return LLVM::ICmpPredicate::eq;
    case LLVM::ICmpPredicate::slt:
      return LLVM::ICmpPredicate::sle;
    case LLVM::ICmpPredicate::sle:
      return LLVM::ICmpPredicate::slt;
    case LLVM::ICmpPredicate::sgt:
      return LLVM::ICmpPredicate::sge;
    case LLVM::ICmpPredicate::sge:
      return LLVM::ICmpPredicate::sgt;
    case LLVM::ICmpPredicate::ult:
      return LLVM::ICmpPredicate::ule;
    case LLVM::ICmpPredicate::ule:
      return LLVM::ICmpPredicate::ult;
    case LLVM::ICmpPredicate::ugt:
      return LLVM::ICmpPredicate::uge;
    default:
      return LLVM::ICmpPredicate::ugt;
    }
  }

  /// Lane 0 of every warp goes around the op.
  void guard(Operation *op) {
    Block *block = op->getBlock();
    Block *body = block->splitBlock(op);
    Block *rest = body->splitBlock(op->getNextNode());
    b.setInsertionPointToEnd(block);
    Location loc = op->getLoc();
    Value lane = NVVM::LaneIdOp::create(b, loc, b.getI32Type());
    Value zero = LLVM::ConstantOp::create(b, loc, b.getI32Type(), b.getI32IntegerAttr(0));
    Value in = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::ne, lane, zero);
    LLVM::CondBrOp::create(b, loc, in, body, rest);
    b.setInsertionPointToEnd(body);
    LLVM::BrOp::create(b, loc, rest);
  }

  OpBuilder b;
  std::map<std::string, unsigned> ordinals;
};

/// In the child: applies the mutation and runs it in three orders of the threads.
Verdict judge(ModuleOp module, const Mutation &mutation, const LaunchText &launch, std::string &detail) {
  ScopedDiagnosticHandler quiet(module.getContext(), [](Diagnostic &) { return success(); });
  mutation.apply();
  if (failed(verify(module)))
    return Invalid;
  bool environment = false;
  FailureOr<mlir::v4::EmuImage> image = mlir::v4::compileEmuImage(module, environment);
  if (failed(image))
    return Invalid;
  for (uint64_t seed : {0, 1, 2}) {
    EmulatorOptions options;
    options.seed = seed;
    options.threads = 1;
    std::vector<std::vector<char>> results;
    int status = runOnEmulator(::v4::Bytes(reinterpret_cast<const std::byte *>(image->elf.data()), image->elf.size()), launch, options, results,
                               detail);
    if (status != V4_EMU_OK)
      return Fault;
    if (!check(launch, results))
      return Wrong;
  }
  return Survived;
}

} // namespace

int main(int argc, char **argv) {
  llvm::cl::ParseCommandLineOptions(argc, argv);
  LaunchText launch;
  for (const std::string &word : launchWords)
    if (!launch.parse(word))
      return 3;
  DialectRegistry registry;
  registry.insert<gpu::GPUDialect, LLVM::LLVMDialect, NVVM::NVVMDialect>();
  // No threads: the children are forks.
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  llvm::SourceMgr sources;
  SourceMgrDiagnosticHandler handler(sources, &context);
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(input, sources, &context);
  if (!module)
    return 3;
  std::map<std::string, std::string> equivalent;
  if (!equivalentFile.empty()) {
    std::vector<char> text;
    if (!readFile(equivalentFile, text))
      return 3;
    SmallVector<StringRef> lines;
    StringRef(text.data(), text.size()).split(lines, '\n', -1, false);
    for (StringRef line : lines) {
      auto [name, why] = line.split('#');
      if (!name.trim().empty())
        equivalent[name.trim().str()] = why.trim().str();
    }
  }
  Mutator mutator(&context);
  mutator.mutations.push_back({"none", "unchanged", [] {}});
  module->walk<WalkOrder::PreOrder>([&](Operation *op) { mutator.collect(op); });

  struct Child {
    size_t mutation;
    int pipe;
  };
  std::map<pid_t, Child> running;
  std::vector<Verdict> verdicts(mutator.mutations.size(), Invalid);
  std::vector<std::string> details(mutator.mutations.size());
  auto reap = [&] {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, 0);
    auto it = running.find(pid);
    if (it == running.end())
      return;
    char buffer[2048];
    ssize_t n = ::read(it->second.pipe, buffer, sizeof buffer);
    ::close(it->second.pipe);
    details[it->second.mutation].assign(buffer, n > 0 ? size_t(n) : 0);
    // A child that dies of anything but the alarm is a bug of the emulator: it stays visible as an unlisted survivor.
    verdicts[it->second.mutation] = WIFSIGNALED(status) ? (WTERMSIG(status) == SIGALRM ? Hang : Survived) : Verdict(WEXITSTATUS(status));
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM)
      details[it->second.mutation] = "died of signal " + std::to_string(WTERMSIG(status));
    running.erase(it);
  };
  for (size_t i = 0; i != mutator.mutations.size(); ++i) {
    if (!only.empty() && mutator.mutations[i].name != only)
      continue;
    while (running.size() >= jobs)
      reap();
    int ends[2];
    if (::pipe(ends) != 0)
      return 3;
    pid_t pid = ::fork();
    if (pid == 0) {
      ::alarm(20);
      if (only.empty() && !std::freopen("/dev/null", "w", stderr))
        ::_exit(Invalid);
      std::string detail;
      Verdict verdict = judge(*module, mutator.mutations[i], launch, detail);
      if (::write(ends[1], detail.data(), detail.size()) < 0)
        ::_exit(Invalid);
      ::_exit(verdict);
    }
    ::close(ends[1]);
    running[pid] = {i, ends[0]};
  }
  while (!running.empty())
    reap();

  static const char *const kNames[] = {"", "fault", "wrong", "hang", "invalid", "survived"};
  struct Count {
    unsigned total = 0, caught = 0, equivalent = 0;
  };
  std::map<std::string, Count> counts;
  bool good = true;
  std::set<std::string> seen;
  for (size_t i = 0; i != mutator.mutations.size(); ++i) {
    const Mutation &mutation = mutator.mutations[i];
    if (!only.empty() && mutation.name != only)
      continue;
    if (list || !only.empty())
      llvm::outs() << kNames[verdicts[i]] << " " << mutation.kind << " " << mutation.name << " " << details[i] << "\n";
    if (mutation.kind == "none") {
      if (verdicts[i] != Survived) {
        llvm::errs() << "the kernel itself is not right: " << details[i] << "\n";
        return 1;
      }
      continue;
    }
    if (verdicts[i] == Invalid)
      continue;
    bool listed = equivalent.count(mutation.name);
    seen.insert(mutation.name);
    Count &count = counts[mutation.kind];
    if (listed)
      ++count.equivalent;
    else {
      ++count.total;
      count.caught += verdicts[i] != Survived;
    }
    if (verdicts[i] == Survived && !listed) {
      llvm::errs() << "not caught: " << mutation.name << " (" << mutation.kind << ") " << details[i] << "\n";
      good = false;
    }
    if (verdicts[i] != Survived && listed) {
      llvm::errs() << "listed as equivalent, but caught (" << kNames[verdicts[i]] << "): " << mutation.name << " " << details[i] << "\n";
      good = false;
    }
  }
  if (only.empty())
    for (auto &[name, why] : equivalent)
      if (!seen.count(name) || why.empty()) {
        llvm::errs() << "listed as equivalent, but " << (why.empty() ? "without a reason" : "there is no such mutant") << ": " << name << "\n";
        good = false;
      }
  unsigned total = 0, caught = 0;
  for (auto &[kind, count] : counts) {
    llvm::outs() << kind << ": " << count.caught << " of " << count.total << " caught, " << count.equivalent << " equivalent\n";
    total += count.total;
    caught += count.caught;
  }
  llvm::outs() << "all: " << caught << " of " << total << " caught\n";
  return good ? 0 : 1;
}
