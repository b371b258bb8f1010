import net from 'net'; import fs from 'fs';
const pid=process.argv[2]; const rss=()=>+fs.readFileSync(`/proc/${pid}/status`,'utf8').match(/VmRSS:\s+(\d+)/)[1];
const N=+process.argv[3];
const key='dGhlIHNhbXBsZSBub25jZQ==';
function frame(t){const p=Buffer.from(t);const h=Buffer.from([0x81,0x80|p.length,0,0,0,0]);return Buffer.concat([h,p]);}
const r0=rss(); const socks=[];
let got=0;
async function one(){return new Promise((res,rej)=>{const s=net.connect(8097,'127.0.0.1');socks.push(s);let st=0;let buf='';s.on('data',d=>{if(st<2)buf+=d.toString('latin1'); if(st==0&&buf.includes('connection_established')){st=1;s.write(frame('{"event":"pusher:subscribe","data":{"channel":"news"}}'));} else if(st==1&&buf.includes('subscription_succeeded')){st=2;buf='';res();} else got++;});s.on('error',rej);s.write(`GET /app/reverb-key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`);});}
for(let i=0;i<N;i+=100){await Promise.all(Array.from({length:100},one));}
await new Promise(r=>setTimeout(r,1500)); const r1=rss();
console.log('rss before',r0,'after',r1,'per conn bytes',((r1-r0)*1024/N).toFixed(0));
for(const s of socks)s.destroy(); await new Promise(r=>setTimeout(r,3000)); console.log('after close',rss());
process.exit(0)
