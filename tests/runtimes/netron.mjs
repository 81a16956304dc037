// Open model files as Netron does; print {file: number of nodes, or the error} as JSON.
//     node netron.mjs FOLDER_OF_NETRON FILE...

import fs from 'node:fs';
import path from 'node:path';
import url from 'node:url';

const [folder, ...files] = process.argv.slice(2);
const load = (name) => import(url.pathToFileURL(path.join(folder, `${name}.js`)));
const text = (name, encoding) => fs.readFileSync(path.join(folder, name), encoding || 'utf-8');

// What Netron asks of the page that it runs in.
const host = {
    type: 'Node',
    version: '',
    environment: () => undefined,
    window: () => globalThis,
    require: (id) => load(id.replace(/^\.\//, '')),
    asset: async (name) => text(name),
    request: async (name, encoding) => text(name, encoding),
    exception: (error) => { throw error; },
    event: () => {}
};

const base = await load('base');
const view = await load('view');
const service = new view.ModelFactoryService(host);
const results = {};
for (const file of files) {
    const stream = new base.BinaryStream(new Uint8Array(fs.readFileSync(file)));
    const context = { ...host, identifier: path.basename(file), stream, entries: new Map(), host };
    context.error = (error) => { throw error; };
    context.set = () => {};
    try {
        const model = await service.open(context);
        results[file] = model.modules[0].nodes.map((node) => node.name);
    } catch (error) {
        results[file] = String(error.message);
    }
}
console.log(JSON.stringify(results));
