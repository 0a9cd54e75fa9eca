// Opens and runs one ONNX file in ONNX Runtime Web, for the session that asks through the debugging port. Arrays travel
// as base64 of their bytes; the time that is told is the run's alone.
const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array,
  int8: Int8Array, bool: Uint8Array,
};
let ort, session;

globalThis.opened = async (threads) => {
  ort = await import("/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = "/";
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  session = await ort.InferenceSession.create("/model.onnx", options);
  return {
    inputs: session.inputNames, isolated: globalThis.crossOriginIsolated, version: ort.env.versions.web ?? ort.env.versions.common,
    threads: ort.env.wasm.numThreads, agent: navigator.userAgent,
  };
};

globalThis.ran = async (arrays) => {
  const feed = {};
  for (const [name, { type, dims, data }] of Object.entries(arrays)) {
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    feed[name] = new ort.Tensor(type, new ARRAYS[type](bytes.buffer), dims);
  }
  const begun = performance.now();
  const answers = await session.run(feed);
  const ms = performance.now() - begun;
  const outputs = {};
  for (const [name, { type, dims, data }] of Object.entries(answers)) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    outputs[name] = { type, dims, data: btoa(text) };
  }
  return { ms, outputs };
};
