/** The page: tiles and buttons around one `Call`. For the browser tests the call is `window.vestibule`. */
import { Call } from './call.js';
import { line, Meter } from './stats.js';

const STATS_INTERVAL_MS = 1000;

const element = (id) => /** @type {any} */ (document.getElementById(id));
const room = new URLSearchParams(location.search).get('room');

if (room) {
  join(room).catch((error) => {
    showProblem(plainWords(error));
    setStatus('Not in a call');
    showEntry(room);
  });
} else {
  element('entry').hidden = false;
}

async function join(room) {
  setStatus('Waiting for your camera and microphone …');
  const media = await openDevices();
  const call = new Call({ room, media });
  const view = new View(call, media);
  window.vestibule = testHandle(call, view);
  setStatus('Joining …');
  await call.join();
}

/**
 * Camera and microphone, or what there is of them; `?video=640x480` chooses the size. Below 960x540 Chromium sends fewer
 * than three encodings, and it is the highest rid that it leaves out.
 */
async function openDevices() {
  const [width, height] = (new URLSearchParams(location.search).get('video') ?? '960x540').split('x').map(Number);
  const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 } };
  let refused = null;
  if (!navigator.mediaDevices) throw new Error('Camera and microphone need https, or this page opened on localhost.');
  for (const wish of [{ audio: true, video }, { audio: true }, { video }]) {
    try {
      const media = await navigator.mediaDevices.getUserMedia(wish);
      if (!media.getVideoTracks().length) showProblem('No camera was found or allowed. The others can hear you, not see you.');
      if (!media.getAudioTracks().length) showProblem('No microphone was found or allowed. The others can see you, not hear you.');
      return media;
    } catch (error) {
      if (!['NotFoundError', 'NotAllowedError', 'NotReadableError'].includes(error.name)) throw error;
      if (error.name !== 'NotFoundError') refused ??= error;
    }
  }
  if (refused) throw refused;
  showProblem('No camera and no microphone were found. You can watch and listen only.');
  return null;
}

class View {
  #call;
  #media;
  #own;
  #tiles = new Map();
  #meter = new Meter();
  #timer;

  constructor(call, media) {
    this.#call = call;
    this.#media = media;
    this.#own = addTile({ own: true });
    this.#own.video.srcObject = media;
    this.#own.video.muted = true;
    this.#own.root.classList.toggle('taken', Boolean(media?.getVideoTracks().length));
    for (const seat of call.seats) this.#tiles.set(seat, this.#addSeat(seat));
    this.#bindTools();
    call.addEventListener('participants', () => this.#render());
    call.addEventListener('seats', () => this.#render());
    call.addEventListener('state', ({ detail }) => setStatus(STATES[detail] ?? detail));
    call.addEventListener('problem', ({ detail }) => showProblem(plainWords(new Error(detail))));
    call.addEventListener('ended', ({ detail }) => this.#end(detail));
    this.#timer = setInterval(() => this.#renderNumbers(), STATS_INTERVAL_MS);
    element('call').hidden = false;
    element('tools').hidden = false;
    this.#render();
  }

  /** The element that plays a seat. */
  video(seat) {
    return this.#tiles.get(seat)?.video;
  }

  #addSeat(seat) {
    const tile = addTile({ own: false });
    tile.video.srcObject = seat.stream;
    for (const button of tile.layers.children) {
      button.onclick = () => this.#call.selectLayer(seat.id, button.value);
    }
    tile.select.onchange = () => this.#call.setSeat(seat.id, tile.select.value ? Number(tile.select.value) : null);
    return tile;
  }

  #render() {
    const { participants, you } = this.#call;
    const names = new Map(participants.map(({ id, name }) => [id, name]));
    const sources = new Map(participants.map(({ id, sources }) => [id, sources]));
    this.#own.title.textContent = `${names.get(you) ?? 'You'} (you)`;
    this.#own.empty.textContent = 'Your camera is off';
    let people = 0;
    for (const [seat, tile] of this.#tiles) {
      const label = seat.screen ? 'Screen' : `Seat ${(people += 1)}`;
      const name = names.get(seat.participant);
      const taken = name !== undefined;
      const pictured = sources.get(seat.participant)?.includes(seat.screen ? 'screen' : 'camera') ?? false;
      tile.root.classList.toggle('taken', taken && pictured);
      tile.empty.textContent = taken ? 'No picture' : 'Nobody in this seat';
      tile.root.hidden = seat.screen && !taken;
      tile.root.setAttribute('aria-label', taken ? `${label}: ${name}` : `${label}, empty`);
      tile.title.textContent = taken ? name + (seat.screen ? ' shares a screen' : '') : label;
      if (!taken) tile.numbers.textContent = '';
      tile.choices.hidden = seat.screen;
      tile.layers.setAttribute('aria-label', `Picture quality of ${label.toLowerCase()}`);
      for (const button of tile.layers.children) button.ariaPressed = String(button.value === seat.layer);
      tile.select.setAttribute('aria-label', `Shows, in ${label.toLowerCase()}`);
      tile.select.replaceChildren(
        new Option('nobody', '', false, !taken),
        ...participants
          .filter(({ id }) => id !== you)
          .map(({ id, name }) => new Option(name, String(id), false, id === seat.participant)),
      );
    }
  }

  async #renderNumbers() {
    const { received, sent } = await this.#meter.read(this.#call.pc);
    this.#own.numbers.textContent = sent.map(line).join('\n');
    for (const [seat, tile] of this.#tiles) {
      const numbers = seat.participant !== null && received.get(seat.video.mid ?? '');
      tile.numbers.textContent = numbers ? line(numbers) : '';
    }
  }

  #bindTools() {
    const camera = this.#media?.getVideoTracks()[0] ?? null;
    toggle('mute', (pressed) => this.#call.setMuted(pressed));
    toggle('camera', async (pressed) => {
      if (camera) camera.enabled = !pressed;
      await this.#call.setCamera(pressed ? null : camera);
      this.#own.root.classList.toggle('taken', !pressed && camera !== null);
    });
    toggle('share', (pressed) => this.#share(pressed));
    element('share').disabled = !navigator.mediaDevices?.getDisplayMedia;
    element('mute').disabled = !this.#media?.getAudioTracks().length;
    element('camera').disabled = !camera;
    press('restart', () => this.#call.restartIce());
    press('leave', () => this.#call.leave());
  }

  async #share(pressed) {
    const sender = this.#call;
    this.screen?.getTracks().forEach((track) => track.stop());
    this.screen = null;
    if (pressed) {
      this.screen = await navigator.mediaDevices
        .getDisplayMedia({ video: { frameRate: { max: 15 } } })
        .catch((error) => {
          throw error.name === 'NotAllowedError' ? new Error('No screen was shared.') : error;
        });
      const [track] = this.screen.getVideoTracks();
      track.onended = () => {
        element('share').ariaPressed = 'false';
        sender.setScreen(null).catch(() => undefined);
      };
    }
    await sender.setScreen(this.screen?.getVideoTracks()[0] ?? null);
  }

  #end(reason) {
    clearInterval(this.#timer);
    for (const stream of [this.#media, this.screen]) stream?.getTracks().forEach((track) => track.stop());
    element('call').hidden = true;
    element('tools').hidden = true;
    showEntry(room);
    setStatus(`The call is over: ${reason}`);
  }
}

const STATES = {
  connecting: 'Connecting …',
  connected: 'Connected',
  disconnected: 'The line is interrupted; waiting for it to come back …',
  failed: 'The line is lost; trying a new path …',
  closed: 'Not in a call',
};

function addTile({ own }) {
  const root = element('tile').content.cloneNode(true).firstElementChild;
  root.classList.toggle('own', own);
  element('call').append(root);
  const part = (selector) => root.querySelector(selector);
  return {
    root,
    video: part('video'),
    title: part('h2'),
    empty: part('.empty'),
    numbers: part('.numbers'),
    choices: part('.choices'),
    layers: part('.layers'),
    select: part('select'),
  };
}

/** A button that stays down; it goes back up when what it asks for fails. */
function toggle(id, change) {
  const button = element(id);
  press(id, async () => {
    const pressed = button.ariaPressed !== 'true';
    await change(pressed);
    button.ariaPressed = String(pressed);
  });
}

function press(id, action) {
  element(id).onclick = async () => {
    showProblem('');
    try {
      await action();
    } catch (error) {
      showProblem(plainWords(error));
    }
  };
}

function plainWords(error) {
  switch (error.name) {
    case 'NotAllowedError':
      return 'This page may not use your camera and microphone. Allow them in the address bar and join again.';
    case 'NotReadableError':
      return 'Another program is using the camera or microphone. Close it and try again.';
    default:
      return error.message.charAt(0).toUpperCase() + error.message.slice(1);
  }
}

function showEntry(room) {
  element('entry').hidden = false;
  element('room').value = room;
}

function setStatus(text) {
  element('status').textContent = text;
}

function showProblem(text) {
  element('problem').textContent = text;
  element('problem').hidden = !text;
}

/** What the browser tests hold on to. */
function testHandle(call, view) {
  return {
    call,
    get pc() {
      return call.pc;
    },
    get seats() {
      return call.seats.map(({ id, screen, participant, layer, audio, video }) => ({
        id,
        screen,
        participant,
        layer,
        audio: audio?.mid ?? null,
        video: video.mid,
      }));
    },
    get negotiations() {
      return call.negotiations;
    },
    selectLayer: (seat, rid) => call.selectLayer(seat, rid),
    setSeat: (seat, participant) => call.setSeat(seat, participant),
    restartIce: () => call.restartIce(),
    video: (seat) => view.video(call.seats.find(({ id }) => id === seat)),
    stats: async () => [...(await call.pc.getStats()).values()],
    serverStats: () => call.serverStats(),
  };
}
