// The title of the tab: what is shown, and where. For `$effect`.

export function title(shown: string): void {
  document.title = `${shown} · Fastness`;
}
