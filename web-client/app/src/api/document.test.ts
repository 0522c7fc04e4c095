import { expect, test } from 'vitest';

import { groupsOf, proseOf, shapesOf, typeOf } from './document.ts';
import type { OpenApi } from './document.ts';

const DOCUMENT: OpenApi = {
  info: { title: 'T', version: '1' },
  tags: [{ name: 'Keys', description: 'Of programs.' }, { name: 'Nothing' }],
  paths: {
    '/v1/keys/{id}': {
      post: {
        tags: ['Keys'],
        operationId: 'makeKey',
        summary: 'Make.',
        parameters: [{ name: 'id', in: 'path', schema: { type: 'string', format: 'uuid' } }],
        requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/NewKey' } } } },
        responses: {
          201: { description: 'Made.', content: { 'application/json': { schema: { $ref: '#/components/schemas/Key' } } } },
          default: { description: 'An error.' },
        },
        security: [{ apiKey: ['keys:manage'] }, { staffSession: [] }],
      },
      get: { summary: 'Look.', responses: {}, security: [{}] },
    },
  },
  components: {
    schemas: {
      NewKey: { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1, maxLength: 100, description: 'What for.' } } },
      Key: { allOf: [{ $ref: '#/components/schemas/NewKey' }, { type: 'object', required: ['key'], properties: { key: { type: 'string' } } }] },
    },
  },
};

test('operations are found by their group, with who may and what they take and give', () => {
  const groups = groupsOf(DOCUMENT);
  expect(groups.map(({ name }) => name)).toEqual(['Keys', 'Other']);
  const [make] = groups[0]?.operations ?? [];
  expect(make).toMatchObject({ id: 'makeKey', method: 'POST', path: '/v1/keys/{id}', access: ['API key with keys:manage', 'signed-in staff'] });
  expect(make?.parameters[0]).toMatchObject({ name: 'id', where: 'path', required: true, type: { text: 'string (uuid)' } });
  expect(make?.body).toEqual({ media: 'application/json', type: { text: 'NewKey', schema: 'NewKey' } });
  expect(make?.answers.map(({ status }) => status)).toEqual(['201', 'otherwise']);
  expect(groups[1]?.operations[0]?.access).toEqual(['everybody']);
});

test('a schema is rows, those of what it is made of among them', () => {
  const [key, newKey] = shapesOf(DOCUMENT);
  expect(newKey?.rows).toEqual([{ name: 'name', type: { text: 'string', schema: null }, required: true, description: 'What for. 1 to 100 characters.' }]);
  expect(key?.rows.map(({ name }) => name)).toEqual(['name', 'key']);
});

test('types are said in a few words', () => {
  expect(typeOf({ type: ['string', 'null'], format: 'date-time' }).text).toBe('string (date-time) or null');
  expect(typeOf({ oneOf: [{ type: 'null' }, { $ref: '#/components/schemas/Key' }] })).toEqual({ text: 'Key or null', schema: 'Key' });
  expect(typeOf({ type: 'array', items: { $ref: '#/components/schemas/Key' } })).toEqual({ text: 'list of Key', schema: 'Key' });
  expect(typeOf({ type: 'string', enum: ['a', 'b'] }).text).toBe('"a" | "b"');
  expect(typeOf({}).text).toBe('anything');
});

test('what stands between backticks is code', () => {
  expect(proseOf('Null, or `a:b`.')).toEqual([
    { code: false, text: 'Null, or ' },
    { code: true, text: 'a:b' },
    { code: false, text: '.' },
  ]);
  expect(proseOf('one ` only').every(({ code }) => !code)).toBe(true);
});
