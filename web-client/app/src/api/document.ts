/** An OpenAPI 3.1 document, made ready to be read: groups of operations, and schemas as rows. It knows no screen. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: (string | number | null)[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  additionalProperties?: Schema | boolean;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
}

type Content = Record<string, { schema?: Schema }>;

interface OperationObject {
  tags?: string[];
  summary?: string;
  description?: string;
  operationId?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema?: Schema }[];
  requestBody?: { content?: Content; required?: boolean };
  responses?: Record<string, { description?: string; content?: Content; headers?: Record<string, { description?: string }> }>;
  security?: Record<string, string[]>[];
}

export interface OpenApi {
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, OperationObject>>;
  components?: { schemas?: Record<string, Schema> };
}

/** A type in a few words, with the names of the schemas in it to follow. */
export interface TypeText {
  text: string;
  /** The schema it names; null for plain ones. */
  schema: string | null;
}

export interface Row {
  name: string;
  type: TypeText;
  required: boolean;
  /** In one of: what is said of it, and its bounds. */
  description: string;
}

export interface Body {
  media: string;
  type: TypeText;
}

export interface Answer {
  status: string;
  description: string;
  headers: string[];
  body: Body | null;
}

export interface Operation {
  id: string;
  method: string;
  path: string;
  summary: string;
  description: string;
  /** Who may: each a way in, and the scopes it takes. */
  access: string[];
  parameters: (Row & { where: string })[];
  body: Body | null;
  answers: Answer[];
}

export interface Group {
  id: string;
  name: string;
  description: string;
  operations: Operation[];
}

export interface Shape {
  name: string;
  description: string;
  /** Without rows it is a plain type. */
  type: TypeText;
  rows: Row[];
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

export function groupsOf(document: OpenApi): Group[] {
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      return operation ? [{ tag: operation.tags?.[0] ?? 'Other', operation: read(method, path, operation) }] : [];
    }),
  );
  const named = document.tags ?? [];
  const names = [...new Set([...named.map(({ name }) => name), ...operations.map(({ tag }) => tag)])];
  return names
    .map((name) => ({
      id: anchor(name),
      name,
      description: named.find((tag) => tag.name === name)?.description ?? '',
      operations: operations.filter(({ tag }) => tag === name).map(({ operation }) => operation),
    }))
    .filter((group) => group.operations.length > 0);
}

export function shapesOf(document: OpenApi): Shape[] {
  return Object.entries(document.components?.schemas ?? {})
    .map(([name, schema]) => ({ name, description: schema.description ?? '', type: typeOf(schema), rows: rowsOf(schema, document) }))
    .sort((a, b) => a.name.localeCompare(b.name));
}

/** A text in its parts: plain ones, and code. A backtick without another is one. */
export function proseOf(text: string): { code: boolean; text: string }[] {
  return text
    .split(/(`[^`]+`)/)
    .filter(Boolean)
    .map((part) => (/^`[^`]+`$/.test(part) ? { code: true, text: part.slice(1, -1) } : { code: false, text: part }));
}

/** What a word is called in an address. */
export function anchor(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]+/g, '-');
}

function read(method: string, path: string, operation: OperationObject): Operation {
  return {
    id: operation.operationId ?? anchor(`${method} ${path}`),
    method: method.toUpperCase(),
    path,
    summary: operation.summary ?? '',
    description: operation.description ?? '',
    access: accessOf(operation.security ?? []),
    parameters: (operation.parameters ?? []).map((parameter) => ({
      name: parameter.name,
      where: parameter.in,
      type: typeOf(parameter.schema ?? {}),
      required: parameter.required ?? parameter.in === 'path',
      description: sentence(parameter.description, parameter.schema ?? {}),
    })),
    body: bodyOf(operation.requestBody?.content),
    answers: Object.entries(operation.responses ?? {}).map(([status, answer]) => ({
      status: status === 'default' ? 'otherwise' : status,
      description: answer.description ?? '',
      headers: Object.entries(answer.headers ?? {}).map(([name, { description }]) => (description ? `${name}: ${description}` : name)),
      body: bodyOf(answer.content),
    })),
  };
}

const WAYS: Record<string, string> = { apiKey: 'API key', staffSession: 'signed-in staff' };

function accessOf(security: Record<string, string[]>[]): string[] {
  return security.flatMap((way) => {
    const [name, scopes] = Object.entries(way)[0] ?? [];
    if (!name) return ['everybody'];
    return [`${WAYS[name] ?? name}${scopes?.length ? ` with ${scopes.join(', ')}` : ''}`];
  });
}

function bodyOf(content: Content | undefined): Body | null {
  const [media, body] = Object.entries(content ?? {})[0] ?? [];
  return media ? { media, type: typeOf(body?.schema ?? {}) } : null;
}

function nameOf(reference: string): string {
  return reference.slice(reference.lastIndexOf('/') + 1);
}

/** Takes out that it may be null. */
function bare(schema: Schema): { schema: Schema; nullable: boolean } {
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) {
    const others = choices.filter((choice) => choice.type !== 'null');
    const [only] = others;
    if (others.length === 1 && only) return { schema: only, nullable: others.length < choices.length };
  }
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== 'null');
    return { schema: { ...schema, type: types.length === 1 ? (types[0] ?? '') : types }, nullable: types.length < schema.type.length };
  }
  return { schema, nullable: false };
}

export function typeOf(whole: Schema): TypeText {
  const { schema, nullable } = bare(whole);
  const { text, schema: name } = plain(schema);
  return { text: nullable ? `${text} or null` : text, schema: name };
}

function plain(schema: Schema): TypeText {
  if (schema.$ref) return { text: nameOf(schema.$ref), schema: nameOf(schema.$ref) };
  if (schema.enum) return { text: schema.enum.map((value) => JSON.stringify(value)).join(' | '), schema: null };
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) {
    const types = choices.map(typeOf);
    return { text: types.map(({ text }) => text).join(' | '), schema: types.find(({ schema }) => schema)?.schema ?? null };
  }
  if (schema.allOf) return typeOf(schema.allOf.find(({ $ref }) => $ref) ?? {});
  if (schema.type === 'array') {
    const item = typeOf(schema.items ?? {});
    return { text: `list of ${item.text}`, schema: item.schema };
  }
  if (schema.type === undefined) return { text: 'anything', schema: null };
  const types = [schema.type].flat().join(' | ');
  return { text: schema.format ? `${types} (${schema.format})` : types, schema: null };
}

function rowsOf(schema: Schema, document: OpenApi, depth = 0): Row[] {
  const parts = (schema.allOf ?? []).flatMap((part) => {
    const whole = part.$ref ? (document.components?.schemas?.[nameOf(part.$ref)] ?? {}) : part;
    // A schema that is part of itself ends here.
    return depth < 4 ? rowsOf(whole, document, depth + 1) : [];
  });
  const own = Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    type: typeOf(property),
    required: schema.required?.includes(name) ?? false,
    description: sentence(property.description, property),
  }));
  return [...parts, ...own];
}

function sentence(description: string | undefined, whole: Schema): string {
  const { schema } = bare(whole);
  const bounds = [
    range(schema.minimum, schema.maximum, ''),
    range(schema.minLength, schema.maxLength, ' characters'),
    range(schema.minItems, schema.maxItems, ' entries'),
  ].filter(Boolean);
  return [description ?? '', ...bounds.map((bound) => `${bound}.`)].filter(Boolean).join(' ');
}

function range(least: number | undefined, most: number | undefined, unit: string): string {
  if (least !== undefined && most !== undefined) return `${least} to ${most}${unit}`;
  if (most !== undefined) return `At most ${most}${unit}`;
  return least ? `At least ${least}${unit}` : '';
}
