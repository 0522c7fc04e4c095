/** What the tests find or leave in a page. */
interface Window {
  vestibule: any;
  gaps: any;
  calls: any;
  talk: any;
  frames_: any;
  closed_: any;
  written_: any;
}
