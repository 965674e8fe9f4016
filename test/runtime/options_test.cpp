// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The option table: what it accepts, how it refuses, and that the help shows every option.
#include "tools/Options.h"

#include <gtest/gtest.h>

using namespace v4;

namespace {

ToolSpec exampleTool() {
  ToolSpec tool;
  tool.name = "v4x";
  tool.summary = "an example";
  tool.usage = "IN -o OUT";
  tool.version = "v4x 1.2";
  tool.examples = {{"v4x a -o b", "turns a into b"}};
  tool.options = {
      {"o", "FILE", "output", "where the result goes"},
      {"target", "NAME", "target", "what to compile for", true, {"cpu", "cpu:CPU", "emu"}},
      {"stages", "LIST", "debug", "stages to print", false, {"model", "graph", "groups"}, true},
      {"report", "[json]", "output", "print sizes", false, {"json"}},
      {"verify", "", "debug", "check more"},
      {"seed", "N", "debug", "random seed"},
  };
  tool.minPositionals = 1;
  tool.maxPositionals = 2;
  tool.positionalName = "IN";
  tool.passThrough = {"--mlir-"};
  return tool;
}

struct Result {
  ParsedOptions options;
  std::string text, error;
};

Result parse(std::vector<const char *> arguments) {
  arguments.insert(arguments.begin(), "v4x");
  Result result;
  result.options =
      parseOptions(exampleTool(), static_cast<int>(arguments.size()), arguments.data(), result.text, result.error);
  return result;
}

TEST(Options, AcceptsEverySpelling) {
  Result r = parse({"in", "-o", "out", "--target=cpu:x86-64-v2", "--target=emu", "--verify", "--mlir-timing",
                    "--report", "--stages=model,groups", "--", "-odd"});
  ASSERT_FALSE(r.options.exit) << r.error;
  EXPECT_EQ(r.options.positionals, (std::vector<std::string>{"in", "-odd"}));
  EXPECT_EQ(r.options.get("o"), "out");
  EXPECT_EQ(r.options.all("target"), (std::vector<std::string>{"cpu:x86-64-v2", "emu"}));
  EXPECT_TRUE(r.options.has("verify"));
  EXPECT_TRUE(r.options.has("report"));
  EXPECT_EQ(r.options.get("report"), "");
  EXPECT_EQ(r.options.passedThrough, std::vector<std::string>{"--mlir-timing"});
  EXPECT_FALSE(r.options.has("seed"));
  EXPECT_EQ(r.options.get("seed", "7"), "7");
  EXPECT_EQ(parse({"in", "-oout"}).options.get("o"), "out");
  EXPECT_EQ(parse({"in", "-o=out"}).options.get("o"), "out");
  EXPECT_EQ(parse({"in", "-o", "-"}).options.get("o"), "-");
  EXPECT_EQ(parse({"-", "--report=json"}).options.get("report"), "json");
  EXPECT_EQ(parse({"in", "--seed=a=b"}).options.get("seed"), "a=b");
}

struct Refusal {
  std::vector<const char *> arguments;
  const char *error;
};

TEST(Options, RefusesWithTheReason) {
  const Refusal refusals[] = {
      {{}, "missing argument: IN"},
      {{"a", "b", "c"}, "unexpected argument 'c'"},
      {{"a", "--sed=1"}, "unknown option '--sed'; did you mean '--seed'?"},
      {{"a", "--zzzzzzzzzzz"}, "unknown option '--zzzzzzzzzzz'"},
      {{"a", "-target=cpu"}, "unknown option '-target'; did you mean '--target'?"},
      {{"a", "--o=x"}, "unknown option '--o'; did you mean '-o'?"},
      {{"a", "--seed"}, "--seed needs a value: --seed=N"},
      {{"a", "--seed="}, "--seed needs a value after '='"},
      {{"a", "-o"}, "-o needs a value: -o FILE"},
      {{"a", "--verify=1"}, "--verify takes no value"},
      {{"a", "--verify", "--verify"}, "--verify is given twice; it takes one value"},
      {{"a", "--seed=1", "--seed=2"}, "--seed is given twice; it takes one value"},
      {{"a", "--target=cpuu"}, "unknown value 'cpuu' for --target; did you mean 'cpu'? (accepted: cpu, cpu:CPU, emu)"},
      {{"a", "--target=cpu:"}, "unknown value 'cpu:' for --target; did you mean 'cpu'? (accepted: cpu, cpu:CPU, emu)"},
      {{"a", "--report=xml"}, "unknown value 'xml' for --report (accepted: --report=json)"},
      {{"a", "--stages=model,grph"},
       "unknown value 'grph' for --stages; did you mean 'graph'? (accepted: model, graph, groups)"},
  };
  for (const Refusal &refusal : refusals) {
    Result r = parse(refusal.arguments);
    EXPECT_EQ(r.error, refusal.error);
    ASSERT_TRUE(r.options.exit);
    EXPECT_EQ(*r.options.exit, ExitUsage);
  }
}

TEST(Options, HelpComesFromTheTable) {
  Result r = parse({"--bogus", "--help"});
  ASSERT_EQ(r.options.exit, std::optional<int>(ExitOk));
  ToolSpec tool = exampleTool();
  for (const OptionSpec &option : tool.options)
    EXPECT_NE(r.text.find(option.help), std::string::npos) << option.name;
  for (const char *piece :
       {"usage: v4x IN -o OUT", "v4x a -o b", "--report[=json]", "--target=NAME", "-o FILE", "--help"})
    EXPECT_NE(r.text.find(piece), std::string::npos) << piece;
  EXPECT_LT(r.text.find("examples:"), r.text.find("output:"));
  EXPECT_EQ(parse({"--version"}).text, "v4x 1.2\n");
  EXPECT_EQ(parse({"a", "--", "--help"}).text, "");
}

TEST(Options, HelpWrapsLongText) {
  ToolSpec tool = exampleTool();
  std::string longHelp;
  for (int i = 0; i < 60; ++i)
    longHelp += "word" + std::to_string(i) + " ";
  tool.options[0].help = longHelp;
  tool.footer = "first line\nsecond line\n";
  std::string text = helpText(tool);
  for (const std::string &line : splitList(text, '\n'))
    EXPECT_LE(line.size(), 100u) << line;
  EXPECT_NE(text.find("word59"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\n\nfirst line\nsecond line\n")) << text;
}

TEST(Options, Numbers) {
  uint64_t u = 5;
  EXPECT_TRUE(parseUnsigned("18446744073709551615", u));
  EXPECT_EQ(u, UINT64_MAX);
  for (const char *bad : {"", "-1", "+1", " 1", "1 ", "18446744073709551616", "0x10", "1e3"})
    EXPECT_FALSE(parseUnsigned(bad, u)) << bad;
  EXPECT_EQ(u, UINT64_MAX);
  double d = 5;
  EXPECT_TRUE(parseReal("2e-5", d));
  EXPECT_EQ(d, 2e-5);
  for (const char *bad : {"", "nan", "inf", "1e400", "1 ", " 1", "0x1p3", "1,5"})
    EXPECT_FALSE(parseReal(bad, d)) << bad;
  std::vector<uint64_t> list;
  EXPECT_TRUE(parseUnsignedList("1,22,3", list));
  EXPECT_EQ(list, (std::vector<uint64_t>{1, 22, 3}));
  for (const char *bad : {"", "1,", ",1", "1,,2", "1,a"})
    EXPECT_FALSE(parseUnsignedList(bad, list)) << bad;
}

} // namespace
