/**
 * A peer that is a program of its own and knows nothing of this project: it makes an offer, takes an answer, and says what it
 * decoded. What docs/protocol.md has a client do is done here for it.
 *
 * Commands are lines of JSON, `{id, method, params}`, and answers `{id, result}` or `{id, error}`:
 *
 *   offer {iceServers, relayOnly, tcpOnly, codec}  → {sdp}: a microphone, a camera, one seat
 *   answer {sdp}                                   → {}
 *   received {}                                    → {state, frames, size, energy, protocol?, local?, remote?}
 */
import { Socket } from '../../api/harness/socket.mjs';
import { consent, post, tokenOf } from '../../browser/harness/door.mjs';
import { Process } from '../../browser/harness/process.mjs';
import { until } from '../../browser/harness/wait.mjs';

export class ProgramPeer {
  #process;
  #socket;
  #lastId = 0;

  constructor(process, socket) {
    this.#process = process;
    this.#socket = socket;
  }

  /**
   * @param {{program: string, args: string[]}} program
   * @param {string} link
   * @param {{codec: string, relayOnly: boolean, tcpOnly: boolean}} wish
   */
  static async join({ program, args }, link, wish) {
    const { origin } = new URL(link);
    await consent(origin, link);
    const { body } = await post(origin, 'join', { token: tokenOf(link) });
    const process = new Process(program, args);
    let peer;
    try {
      const socket = await Socket.join(origin, link);
      peer = new ProgramPeer(process, socket);
      await socket.hears('welcome');
      const { sdp } = await peer.ask('offer', { iceServers: body.iceServers, ...wish });
      socket.say({ type: 'offer', id: 1, sdp, negotiation: 1 });
      const refused = () => socket.heard.find(({ type, replyTo }) => type === 'error' && replyTo === 1);
      const answered = () => socket.heard.find(({ type }) => type === 'answer');
      await until('an answer', () => answered() ?? refused());
      if (refused()) throw new Error(`the offer was refused: ${refused().message}`);
      await peer.ask('answer', { sdp: answered().sdp });
      return peer;
    } catch (error) {
      await (peer ?? { end: () => process.end('SIGKILL') }).end();
      throw error;
    }
  }

  async ask(method, params = {}) {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#process.write(JSON.stringify({ id, method, params }));
    // Libraries say things on standard output, too.
    const [line] = await this.#process.line(new RegExp(`^\\{"id": ?${id},.*$`));
    const { result, error } = JSON.parse(line);
    if (error) throw new Error(`${method}: ${error}`);
    return result;
  }

  received() {
    return this.ask('received');
  }

  async end() {
    this.#socket?.say({ type: 'leave', id: 99 });
    this.#socket?.close();
    await this.#process.end('SIGKILL');
  }
}
