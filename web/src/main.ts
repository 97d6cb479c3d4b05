// The beginning: theme, address, keys, then the page. Nothing is asked of the server before.

import './styles/tokens.css';
import './styles/base.css';
import './styles/tones.css';
import './styles/controls.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { showTheme } from './app/preferences.svelte.ts';
import { startRouter } from './app/router.svelte.ts';
import { askWho } from './app/session.svelte.ts';
import { startShortcuts } from './app/shortcuts.ts';

showTheme();
startRouter();
startShortcuts();
void askWho();

const target = document.getElementById('app');
if (target) mount(App, { target });
