// Bundles the page into dashboard/static, or compares with what is there (--check). The same sources give the same bytes.
import { build } from "esbuild";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const committed = join(here, "../static");

async function bundle(folder) {
  await build({
    absWorkingDir: here,
    entryPoints: { page: "src/main.tsx" },
    outdir: folder,
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "inline",
    charset: "utf8",
    logLevel: "warning",
  });
}

async function check() {
  const fresh = await mkdtemp(join(tmpdir(), "rain-dashboard-"));
  try {
    await bundle(fresh);
    const differs = [];
    for (const name of await readdir(fresh)) {
      const [made, kept] = await Promise.all([
        readFile(join(fresh, name)),
        readFile(join(committed, name)).catch(() => Buffer.alloc(0)),
      ]);
      if (!made.equals(kept)) differs.push(`dashboard/static/${name}`);
    }
    if (differs.length) {
      console.error(`${differs.join(", ")}: not what dashboard/web makes; run \`make dashboard\` and commit the result`);
      process.exitCode = 1;
    }
  } finally {
    await rm(fresh, { recursive: true });
  }
}

await (process.argv.includes("--check") ? check() : bundle(committed));
