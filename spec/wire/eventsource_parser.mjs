// Reads streams, one a line: pieces in hex, joined by commas. Writes what eventsource-parser makes of each, one a line:
// events as name:data in hex, joined by commas. Bytes are fed as Latin-1 characters, so that none is lost.
import { readFileSync } from "node:fs";
import { createParser } from "eventsource-parser";

const hex = (text) => Buffer.from(text ?? "", "latin1").toString("hex");

for (const line of readFileSync(0, "latin1").trimEnd().split("\n")) {
  const events = [];
  const parser = createParser({ onEvent: (event) => events.push(`${hex(event.event)}:${hex(event.data)}`) });
  for (const piece of line.split(",")) parser.feed(Buffer.from(piece, "hex").toString("latin1"));
  process.stdout.write(`${events.join(",")}\n`);
}
