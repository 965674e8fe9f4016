// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// emu-mutate KERNEL.mlir -launch=WORDS... [-equivalent=FILE] [-scales=NAME,...] [-each=N] [-list]: changes a kernel at
// the NVVM level op by op and asks of every changed kernel that the emulator reports a fault or that the result of a
// launch is another than the kernel's own, bit for bit (Launch.h has the words). A changed op that no launch executes,
// or that gives the same values as before at every execution, is no bug in these launches and is left out, as are
// mutants that FILE lists, one line each, `NAME # why it computes the same`. Of the others at least 95 % must be caught.
// What is not is printed. A listed mutant that is caught or left out anyway is an error. -each=N takes N mutants of each
// kind, spread over the kernel. -scales names the bindings that hold scales, whose loads are moved to another block's.
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
#include <csignal>
#include <map>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace mlir;
using namespace ::v4::test;

static llvm::cl::opt<std::string> input(llvm::cl::Positional, llvm::cl::Required);
static llvm::cl::list<std::string> launchFiles("launch", llvm::cl::desc("file of launch words"), llvm::cl::OneOrMore);
static llvm::cl::opt<std::string> equivalentFile("equivalent");
static llvm::cl::opt<bool> list("list", llvm::cl::desc("print every mutant and what became of it"));
static llvm::cl::opt<std::string> only("only", llvm::cl::desc("run this mutant alone and say what it does"));
static llvm::cl::opt<unsigned> each("each", llvm::cl::desc("mutants of each kind; 0: all"), llvm::cl::init(0));
static llvm::cl::list<std::string> scales("scales", llvm::cl::CommaSeparated);
static llvm::cl::opt<unsigned> jobs("j", llvm::cl::init(2));

namespace {

struct Mutation {
  std::string kind, name; // the class of bug, and a name that says where
  std::function<void()> apply;
  Operation *op = nullptr;
  std::function<void(Operation *)> edit; // where the change may leave the op's results as they are
};

enum Verdict { Fault = 1, Wrong = 2, Hang = 3, Invalid = 4, Survived = 5, Same = 6 };

class Mutator {
public:
  /// `launch` names the kernel's parameters.
  Mutator(MLIRContext *context, const LaunchText &launch) : b(context), launch(launch) {}

  std::vector<Mutation> mutations;

  void collect(Operation *op) {
    unsigned number = ordinals[op->getName().getStringRef().str()]++;
    std::string place = op->getName().getStringRef().str() + "." + std::to_string(number);
    auto add = [&](StringRef kind, const std::string &what, std::function<void()> apply) {
      mutations.push_back({kind.str(), place + ":" + what, std::move(apply), op, {}});
    };
    // A change of an op without side effects, which can be made to a copy of it.
    auto addEdit = [&](StringRef kind, const std::string &what, std::function<void(Operation *)> edit) {
      mutations.push_back({kind.str(), place + ":" + what, [op, edit] { edit(op); }, op, edit});
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
        .Case([&](NVVM::MBarrierInitOp init) {
          add("phase", "drop", [op] { op->erase(); });
          for (int by : {1, -1})
            add("phase", by > 0 ? "more-arrivals" : "fewer-arrivals",
                [this, init, by]() mutable { increase(init, init.getCountMutable(), by); });
        })
        .Case([&](NVVM::MBarrierArriveOp) {
          if (op->use_empty())
            add("phase", "drop", [op] { op->erase(); });
          add("phase", "twice", [this, op] {
            b.setInsertionPoint(op);
            b.clone(*op);
          });
        })
        .Case([&](NVVM::MBarrierArriveExpectTxOp expect) {
          if (op->use_empty())
            add("phase", "drop", [op] { op->erase(); });
          for (int by : {16, -16})
            add("phase", by > 0 ? "more-bytes" : "fewer-bytes",
                [this, expect, by]() mutable { increase(expect, expect.getTxcountMutable(), by); });
        })
        .Case([&](NVVM::MBarrierTryWaitParityOp wait) {
          add("phase", "drop", [op] { op->erase(); });
          add("phase", "parity", [this, wait]() mutable {
            b.setInsertionPoint(wait);
            Value one = LLVM::ConstantOp::create(b, wait.getLoc(), b.getI32Type(), b.getI32IntegerAttr(1));
            wait.getPhaseMutable().assign(LLVM::XOrOp::create(b, wait.getLoc(), wait.getPhase(), one));
          });
        })
        .Case([&](NVVM::CpAsyncBulkGlobalToSharedClusterOp) { add("async", "drop", [op] { op->erase(); }); })
        .Case([&](LLVM::StoreOp store) {
          bool shared = cast<LLVM::LLVMPointerType>(store.getAddr().getType()).getAddressSpace() == 3;
          add(shared ? "stale" : "missing", "drop", [op] { op->erase(); });
          promise(op, add);
        })
        .Case([&](LLVM::LoadOp load) {
          promise(op, add);
          if (readsScale(load.getAddr()))
            for (int by : {1, -1})
              addEdit("scale", by > 0 ? "next" : "previous", [this, by](Operation *o) {
                auto load = cast<LLVM::LoadOp>(o);
                b.setInsertionPoint(load);
                load.getAddrMutable().assign(LLVM::GEPOp::create(b, load.getLoc(), load.getAddr().getType(),
                                                                 load.getType(), load.getAddr(),
                                                                 ArrayRef<LLVM::GEPArg>{by}));
              });
        })
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
          auto setKind = [this](Operation *o, NVVM::ShflKind kind) {
            cast<NVVM::ShflOp>(o).setKindAttr(NVVM::ShflKindAttr::get(b.getContext(), kind));
          };
          addEdit("lane", "own-value", [this, setKind](Operation *o) {
            setKind(o, NVVM::ShflKind::bfly);
            b.setInsertionPoint(o);
            cast<NVVM::ShflOp>(o).getOffsetMutable().assign(
                LLVM::ConstantOp::create(b, o->getLoc(), b.getI32Type(), b.getI32IntegerAttr(0)));
          });
          NVVM::ShflKind other = shuffle.getKind() == NVVM::ShflKind::idx ? NVVM::ShflKind::bfly : NVVM::ShflKind::idx;
          addEdit("lane", "other-kind", [setKind, other](Operation *o) { setKind(o, other); });
        })
        .Case([&](NVVM::MmaOp mma) {
          unsigned a = mma.getOperandA().size(), bCount = mma.getOperandB().size();
          for (unsigned i = 0; i + 1 < a; ++i)
            addEdit("fragment", "swap-a" + std::to_string(i), [i](Operation *o) { swap(o, i, i + 1); });
          if (bCount == 2)
            addEdit("fragment", "swap-b", [a](Operation *o) { swap(o, a, a + 1); });
          for (unsigned i = 0; i != mma.getOperandC().size(); i += 2)
            addEdit("fragment", "swap-c" + std::to_string(i),
                    [a, bCount, i](Operation *o) { swap(o, a + bCount + i, a + bCount + i + 1); });
        })
        .Case([&](NVVM::LdMatrixOp load) {
          add("fragment", "transpose", [this, load]() mutable {
            load.setLayoutAttr(NVVM::MMALayoutAttr::get(b.getContext(), load.getLayout() == NVVM::MMALayout::row ? NVVM::MMALayout::col
                                                                                                                 : NVVM::MMALayout::row));
          });
        })
        .Case<LLVM::SubOp, LLVM::ShlOp, LLVM::LShrOp, LLVM::UDivOp, LLVM::URemOp, LLVM::FSubOp>(
            [&](Operation *) { addEdit("operand", "swap", [](Operation *o) { swap(o, 0, 1); }); })
        .Case([&](LLVM::SelectOp) { addEdit("operand", "swap", [](Operation *o) { swap(o, 1, 2); }); })
        .Case([&](LLVM::ICmpOp compare) {
          if (selectsOneOfItsOperands(compare))
            return;
          auto other = neighbour(compare.getPredicate());
          addEdit("bound", "neighbour", [other](Operation *o) { cast<LLVM::ICmpOp>(o).setPredicate(other); });
        })
        .Case([&](LLVM::ConstantOp constant) {
          auto value = dyn_cast<IntegerAttr>(constant.getValue());
          if (!value || value.getType().isInteger(1) || constant.use_empty())
            return;
          APInt n = value.getValue();
          for (int delta : {1, -1})
            addEdit("constant", delta > 0 ? "plus" : "minus", [value, n, delta](Operation *o) {
              cast<LLVM::ConstantOp>(o).setValueAttr(IntegerAttr::get(value.getType(), n + delta));
            });
        })
        .Case<LLVM::AddOp, LLVM::MulOp>([&](Operation *) {
          Type type = op->getResult(0).getType();
          if (type.isInteger(64))
            addEdit("overflow", "narrow", [this, type](Operation *o) {
              b.setInsertionPointAfter(o);
              Value narrow = LLVM::TruncOp::create(b, o->getLoc(), b.getIntegerType(8), o->getResult(0));
              Value wide = LLVM::SExtOp::create(b, o->getLoc(), type, narrow);
              o->getResult(0).replaceAllUsesExcept(wide, narrow.getDefiningOp());
            });
        });
  }

  /// Divides by zero where the change of a mutation is executed and makes a difference.
  void probe(const Mutation &mutation) {
    if (!mutation.edit)
      return trap(mutation.op);
    if (!isa<LLVM::ConstantOp>(mutation.op))
      return probe(mutation.op, mutation.edit);
    // What uses a constant may give the same with another one.
    Value constant = mutation.op->getResult(0);
    for (Operation *user : llvm::SetVector<Operation *>(constant.user_begin(), constant.user_end()))
      if (user->getNumResults() == 1 && (isa<NVVM::ShflOp>(user) || isMemoryEffectFree(user)))
        probe(user, [&](Operation *copy) {
          b.setInsertionPoint(copy);
          Operation *changed = b.clone(*mutation.op);
          mutation.edit(changed);
          copy->replaceUsesOfWith(constant, changed->getResult(0));
        });
      else
        trap(user);
  }

private:
  /// Computes the changed op beside the op as it was and divides by zero where their results differ.
  void probe(Operation *op, const std::function<void(Operation *)> &edit) {
    b.setInsertionPointAfter(op);
    Operation *copy = b.clone(*op);
    // A use that follows the edit wherever it puts the copy's value.
    Location loc = op->getLoc();
    b.setInsertionPointAfter(copy);
    Value result = op->getResult(0), other = copy->getResult(0);
    SmallVector<std::pair<Value, Value>> pairs;
    if (auto structure = dyn_cast<LLVM::LLVMStructType>(result.getType()))
      for (unsigned i = 0; i != structure.getBody().size(); ++i)
        pairs.emplace_back(LLVM::ExtractValueOp::create(b, loc, result, int64_t(i)),
                           LLVM::ExtractValueOp::create(b, loc, other, int64_t(i)));
    else
      pairs.emplace_back(result, other);
    Type i64 = b.getI64Type();
    Value zero = LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(0)), one = LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(1));
    for (auto [left, right] : pairs) {
      Type type = left.getType();
      unsigned bits = unsigned(DataLayout().getTypeSizeInBits(type));
      Type integer = b.getIntegerType(bits);
      if (isa<LLVM::LLVMPointerType>(type)) {
        left = LLVM::PtrToIntOp::create(b, loc, integer, left);
        right = LLVM::PtrToIntOp::create(b, loc, integer, right);
      } else if (type != integer) {
        left = LLVM::BitcastOp::create(b, loc, integer, left);
        right = LLVM::BitcastOp::create(b, loc, integer, right);
      }
      Value equal = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, left, right);
      Value divisor = LLVM::SelectOp::create(b, loc, equal, one, zero);
      LLVM::UDivOp::create(b, loc, one, divisor);
    }
    edit(copy);
  }

  void trap(Operation *op) {
    b.setInsertionPoint(op);
    Value zero = LLVM::ConstantOp::create(b, op->getLoc(), b.getI64Type(), b.getI64IntegerAttr(0));
    LLVM::UDivOp::create(b, op->getLoc(), zero, zero);
  }

  /// Whether the address is inside a parameter that `-scales` names.
  bool readsScale(Value address) const {
    while (Operation *op = address.getDefiningOp()) {
      if (!isa<LLVM::GEPOp, LLVM::AddrSpaceCastOp>(op))
        return false;
      address = op->getOperand(0);
    }
    auto argument = cast<BlockArgument>(address);
    return argument.getOwner()->isEntryBlock() && argument.getArgNumber() < launch.bindings.size() &&
           llvm::is_contained(scales, launch.bindings[argument.getArgNumber()].name);
  }

  /// The smaller or larger of two numbers: of equal ones it does not matter which.
  static bool selectsOneOfItsOperands(LLVM::ICmpOp compare) {
    LLVM::ICmpPredicate p = compare.getPredicate();
    return p != LLVM::ICmpPredicate::eq && p != LLVM::ICmpPredicate::ne && llvm::all_of(compare->getUsers(), [&](Operation *user) {
      auto select = dyn_cast<LLVM::SelectOp>(user);
      if (!select)
        return false;
      Value left = compare.getLhs(), right = compare.getRhs(), first = select.getTrueValue(), second = select.getFalseValue();
      return (first == left && second == right) || (first == right && second == left);
    });
  }

  template <typename Add> void promise(Operation *op, Add add) {
    auto attribute = op->getAttrOfType<IntegerAttr>("alignment");
    if (attribute && attribute.getInt() < 16 && op->getNumRegions() == 0)
      add("alignment", "stronger", [this, op, attribute] { op->setAttr("alignment", b.getI64IntegerAttr(attribute.getInt() * 4)); });
  }

  void increase(Operation *op, OpOperand &operand, int by) {
    b.setInsertionPoint(op);
    Value step = LLVM::ConstantOp::create(b, op->getLoc(), b.getI32Type(), b.getI32IntegerAttr(by));
    operand.set(LLVM::AddOp::create(b, op->getLoc(), operand.get(), step));
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
  const LaunchText &launch;
  std::map<std::string, unsigned> ordinals;
};

using Results = std::vector<std::vector<char>>;

/// Runs the module's launches, each in three orders of the threads. `expected`, by launch, is filled by the first call.
Verdict run(ModuleOp module, ArrayRef<LaunchText> launches, std::vector<Results> &expected, std::string &detail) {
  if (failed(verify(module)))
    return Invalid;
  bool environment = false;
  FailureOr<mlir::v4::EmuImage> image = mlir::v4::compileEmuImage(module, environment);
  if (failed(image))
    return Invalid;
  ::v4::Bytes bytes(reinterpret_cast<const std::byte *>(image->elf.data()), image->elf.size());
  for (auto [i, launch] : llvm::enumerate(launches))
    for (uint64_t seed : {0, 1, 2}) {
      EmulatorOptions options;
      options.seed = seed;
      options.threads = 1;
      Results results;
      if (runOnEmulator(bytes, launch, options, results, detail) != V4_EMU_OK)
        return Fault;
      if (expected.size() == i)
        expected.push_back(results);
      if (results != expected[i])
        return Wrong;
    }
  return Survived;
}

/// In the child: applies the mutation and runs it; looks closer at one that is not caught.
Verdict judge(ModuleOp module, Mutator &mutator, const Mutation &mutation, ArrayRef<LaunchText> launches,
              std::vector<Results> &expected, std::string &detail) {
  ScopedDiagnosticHandler quiet(module.getContext(), [](Diagnostic &) { return success(); });
  // The change is made in place, so it is made in a second child: forks are cheaper than maps from ops to copies.
  int ends[2];
  if (::pipe(ends) != 0)
    return Invalid;
  pid_t pid = ::fork();
  if (pid == 0) {
    ::alarm(20);
    mutation.apply();
    Verdict verdict = run(module, launches, expected, detail);
    ::_exit(::write(ends[1], detail.data(), detail.size()) < 0 ? Invalid : verdict);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  ::close(ends[1]);
  char buffer[2048];
  ssize_t n = ::read(ends[0], buffer, sizeof buffer);
  detail.assign(buffer, n > 0 ? size_t(n) : 0);
  if (WIFSIGNALED(status)) {
    ::signal(WTERMSIG(status), SIG_DFL);
    ::raise(WTERMSIG(status));
  }
  if (WEXITSTATUS(status) != Survived)
    return Verdict(WEXITSTATUS(status));
  mutator.probe(mutation);
  std::string unused;
  return run(module, launches, expected, unused) == Survived ? Same : Survived;
}

} // namespace

int main(int argc, char **argv) {
  llvm::cl::ParseCommandLineOptions(argc, argv);
  std::vector<LaunchText> launches(launchFiles.size());
  for (auto [launch, file] : llvm::zip(launches, launchFiles))
    if (!launch.parse("@" + file))
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
  std::vector<Results> expected;
  std::string why;
  if (run(*module, launches, expected, why) != Survived) {
    llvm::errs() << "the kernel itself is not right: " << why << "\n";
    return 1;
  }
  Mutator mutator(&context, launches.front());
  module->walk<WalkOrder::PreOrder>([&](Operation *op) { mutator.collect(op); });
  std::map<std::string, std::vector<size_t>> kinds;
  for (size_t i = 0; i != mutator.mutations.size(); ++i)
    kinds[mutator.mutations[i].kind].push_back(i);
  std::vector<char> chosen(mutator.mutations.size(), each == 0 && only.empty());
  for (auto &[kind, members] : kinds) {
    size_t count = std::min<size_t>(each, members.size());
    for (size_t i = 0; i != count; ++i)
      chosen[members[(2 * i + 1) * members.size() / (2 * count)]] = only.empty();
    for (size_t i : members)
      chosen[i] |= !only.empty() && mutator.mutations[i].name == only;
  }

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
    if (!chosen[i])
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
      Verdict verdict = judge(*module, mutator, mutator.mutations[i], launches, expected, detail);
      if (::write(ends[1], detail.data(), detail.size()) < 0)
        ::_exit(Invalid);
      ::_exit(verdict);
    }
    ::close(ends[1]);
    running[pid] = {i, ends[0]};
  }
  while (!running.empty())
    reap();

  static const char *const kNames[] = {"", "fault", "wrong", "hang", "invalid", "survived", "same"};
  struct Count {
    unsigned total = 0, caught = 0, equivalent = 0;
  };
  std::map<std::string, Count> counts;
  std::set<std::string> seen;
  bool good = true;
  for (size_t i = 0; i != mutator.mutations.size(); ++i) {
    const Mutation &mutation = mutator.mutations[i];
    if (!chosen[i])
      continue;
    if (list || !only.empty())
      llvm::outs() << kNames[verdicts[i]] << " " << mutation.kind << " " << mutation.name << " " << details[i] << "\n";
    bool listed = equivalent.count(mutation.name);
    seen.insert(mutation.name);
    if ((verdicts[i] == Invalid || verdicts[i] == Same) && !listed)
      continue;
    Count &count = counts[mutation.kind];
    if (listed)
      ++count.equivalent;
    else {
      ++count.total;
      count.caught += verdicts[i] != Survived;
    }
    if (verdicts[i] == Survived && !listed)
      llvm::outs() << "not caught: " << mutation.name << " (" << mutation.kind << ") " << details[i] << "\n";
    good &= verdicts[i] == Survived || !listed;
    if (verdicts[i] != Survived && listed)
      llvm::outs() << "listed as equivalent, but caught (" << kNames[verdicts[i]] << "): " << mutation.name << " " << details[i] << "\n";
  }
  if (only.empty() && each == 0)
    for (auto &[name, why] : equivalent)
      if (!seen.count(name) || why.empty()) {
        good = false;
        llvm::outs() << "listed as equivalent, but " << (why.empty() ? "without a reason" : "there is no such mutant") << ": " << name << "\n";
      }
  unsigned total = 0, caught = 0;
  for (auto &[kind, count] : counts) {
    llvm::outs() << kind << ": " << count.caught << " of " << count.total << " caught, " << count.equivalent << " equivalent\n";
    total += count.total;
    caught += count.caught;
  }
  llvm::outs() << "all: " << caught << " of " << total << " caught\n";
  return good && caught * 100 >= total * 95 ? 0 : 1;
}
