import { svelte } from '@sveltejs/vite-plugin-svelte'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

const here = fileURLToPath(new URL('.', import.meta.url))
const out = fileURLToPath(new URL('../wan22/studio_dist/', import.meta.url))

/** What the built files depend on; tests/contracts/test_studio_build.py says the same. */
const SOURCES = ['index.html', 'package.json', 'package-lock.json', 'svelte.config.js', 'tsconfig.json', 'vite.config.ts', 'public', 'src']
const DERIVED = /(\.test\.ts|api-types\.d\.ts)$/

function files(under: string): string[] {
  if (!existsSync(join(here, under))) return []
  if (!statSync(join(here, under)).isDirectory()) return [under]
  return readdirSync(join(here, under)).flatMap((name) => files(`${under}/${name}`))
}

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Writes build.json: the SHA-256 of every source and of every built file. */
function buildRecord(): Plugin {
  return {
    name: 'build-record',
    apply: 'build',
    closeBundle() {
      const sources = SOURCES.flatMap(files).filter((path) => !DERIVED.test(path)).sort()
      const built = (readdirSync(out, { recursive: true, encoding: 'utf8' }) as string[])
        .filter((path) => path !== 'build.json' && statSync(join(out, path)).isFile())
        .sort()
      const record = {
        sources: Object.fromEntries(sources.map((path) => [path, sha256(join(here, path))])),
        files: Object.fromEntries(built.map((path) => [path, sha256(join(out, path))])),
      }
      writeFileSync(join(out, 'build.json'), `${JSON.stringify(record, null, 1)}\n`)
    },
  }
}

export default defineConfig({
  plugins: [svelte(), buildRecord()],
  resolve: {
    alias: { $lib: join(here, 'src/lib') },
    conditions: process.env.VITEST ? ['browser'] : undefined,
  },
  build: {
    outDir: out,
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // the pages' policy takes no data: scripts or styles
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:8722' } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
