/** Where programs are: named by the environment, or found where they usually are. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));

/** Screenshots and the like; not checked in. */
export const ARTEFACTS = join(REPOSITORY, 'artefacts');

export const chromiumPath = () =>
  process.env.CHROMIUM_BIN ?? inPath('chromium', 'chromium-browser', 'google-chrome');
export const firefoxPath = () => process.env.FIREFOX_BIN ?? inPath('firefox-esr', 'firefox');

/** The newest build of one of our programs; `VESTIBULE_BIN_DIR` chooses the folder. */
export function builtProgram(name) {
  if (name === 'vestibule' && process.env.VESTIBULE_BIN) return process.env.VESTIBULE_BIN;
  const target = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, 'target');
  const folders = process.env.VESTIBULE_BIN_DIR
    ? [process.env.VESTIBULE_BIN_DIR]
    : [join(target, 'release'), join(target, 'debug')];
  const built = folders
    .map((folder) => join(folder, name))
    .filter(isProgram)
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  if (!built.length) throw new Error(`${name} is not built; run: cargo build --workspace --bins`);
  return built[0];
}

function inPath(...names) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isProgram);
  if (!found) throw new Error(`none of ${names.join(', ')} is installed`);
  return found;
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
