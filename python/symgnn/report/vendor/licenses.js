// Writes NAME.LICENSE.txt: the license of every package that esbuild put into NAME.min.js.
const { readFileSync, readdirSync, writeFileSync } = require("node:fs");

const name = process.argv[2];
const inputs = Object.keys(JSON.parse(readFileSync(`${name}.meta.json`)).inputs);
const folders = inputs.map((path) => path.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0]);
const texts = [...new Set(folders.filter(Boolean))].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`));
  const file = readdirSync(folder).find((entry) => /^(un)?licen[cs]e/i.test(entry));
  return `${name} ${version} (${license})\n\n${readFileSync(`${folder}/${file}`, "utf8").trim()}\n`;
});
writeFileSync(`${name}.LICENSE.txt`, texts.join(`\n${"-".repeat(80)}\n\n`));
