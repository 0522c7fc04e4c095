import { mount } from 'svelte';

import App from './App.svelte';
import './tokens.css';
import './base.css';

/** Pages for others than those who hold a link: fetched only where they are opened. */
const PAGES: Record<string, () => Promise<{ default: typeof App }>> = {
  '/staff': () => import('./staff/StaffPage.svelte'),
  '/setup': () => import('./staff/SetupPage.svelte'),
  '/api': () => import('./api/ApiPage.svelte'),
};
/** Where visits are opened. */
const VISIT = ['', '/j', '/index.html'];

const target = document.getElementById('app');
const path = location.pathname.replace(/\/$/, '');
const page = PAGES[path] ?? (VISIT.includes(path) ? null : () => import('./screens/Nothing.svelte'));
if (target) mount(page ? (await page()).default : App, { target });
