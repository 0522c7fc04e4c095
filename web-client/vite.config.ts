import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: 'app',
  plugins: [svelte({ configFile: '../svelte.config.js' })],
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    // The server's content security policy allows no inline script or style, and needs none.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: 'app/index.html', sdk: 'sdk/src/index.ts' },
      // The SDK is a module of its own: others import it, and the app loads it from there.
      preserveEntrySignatures: 'strict',
      output: {
        entryFileNames: ({ name }) => (name === 'sdk' ? 'sdk.js' : 'assets/[name]-[hash].js'),
      },
    },
  },
  test: { root: '.', include: ['{app,sdk}/src/**/*.test.ts'] },
});
