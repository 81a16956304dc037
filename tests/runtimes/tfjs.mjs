// Run converted models in TensorFlow.js. A line in is {model, feeds, outputs}, a line out {results} or {error}.
//     node tfjs.mjs FOLDER_WITH_NODE_MODULES

import fs from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const require = module.createRequire(path.join(process.argv[2], 'x.js'));
const tf = require('@tensorflow/tfjs-core');
const { loadGraphModel } = require('@tensorflow/tfjs-converter');
require('@tensorflow/tfjs-backend-cpu');
await tf.setBackend('cpu');

async function run({ model, feeds, outputs }) {
    const json = JSON.parse(fs.readFileSync(path.join(model, 'model.json'), 'utf-8'));
    const [manifest] = json.weightsManifest;
    const shards = manifest.paths.map((name) => fs.readFileSync(path.join(model, name)));
    const graph = await loadGraphModel({
        load: async () => ({
            ...json,
            weightSpecs: manifest.weights,
            weightData: new Uint8Array(Buffer.concat(shards)).buffer
        })
    });
    const inputs = Object.fromEntries(Object.entries(feeds).map(
        ([name, { values, shape, dtype }]) => [name, tf.tensor(values, shape, dtype)]
    ));
    const found = await graph.executeAsync(inputs, outputs);
    const results = [];
    for (const each of Array.isArray(found) ? found : [found]) {
        // JSON has no NaN and no infinity, and strings here may be any bytes.
        const values = each.dtype === 'string'
            ? Array.from(await each.bytes(), (value) => Buffer.from(value).toString('latin1'))
            : Array.from(await each.data(), (value) => Number.isFinite(value) ? value : String(value));
        results.push({ values, shape: each.shape, dtype: each.dtype });
    }
    return results;
}

for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
        answer = { results: await run(JSON.parse(line)) };
    } catch (error) {
        answer = { error: String(error.message) };
    }
    console.log(JSON.stringify(answer));
}
