// Reads a JSON list of Terraform files from standard input and writes what HashiCorp's own parser
// makes of each. The first argument: the directory of node_modules.
const path = require("node:path");
const { parse } = require(path.join(process.argv[2], "@cdktf", "hcl2json"));

async function main() {
  let text = "";
  for await (const piece of process.stdin) text += piece;
  const found = [];
  for (const one of JSON.parse(text)) found.push(await parse("backhaul.tf", one));
  process.stdout.write(JSON.stringify(found));
}

main();
