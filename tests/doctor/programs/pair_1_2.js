// Sets tracing up and makes server spans by itself, and is run with the register, which does both.
require("./tracing").setUp();
require("./auto_and_manual");
