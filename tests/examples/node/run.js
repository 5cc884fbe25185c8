// Runs JavaScript modules one after the other, each as if it were alone: as interpreter.py does.
let input = "";
for await (const piece of process.stdin) input += piece;

const write = process.stdout.write.bind(process.stdout);
const results = [];
for (const [number, job] of JSON.parse(input).entries()) {
  Object.assign(process.env, job.environment);
  let output = "";
  let failed = "";
  process.stdout.write = (piece) => {
    output += piece;
    return true;
  };
  try {
    // the number makes it a module of its own, though its text were another's
    await import(`data:text/javascript,${encodeURIComponent(`${job.text}\n// ${number}`)}`);
  } catch (error) {
    failed = String(error.stack ?? error);
  }
  process.stdout.write = write;
  results.push({ failed, output });
}
write(JSON.stringify(results));
