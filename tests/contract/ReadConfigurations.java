import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.concurrent.Callable;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.HdfsConfiguration;

/**
 * Hadoop's own reading of many configuration directories, in one JVM.
 *
 * Standard input: lines "directory TAB kind TAB name". Standard output: for each, "=" and the value
 * in base64, "-" where there is none, or "!" and the exception.
 */
public class ReadConfigurations {
  public static void main(String[] arguments) throws Exception {
    HdfsConfiguration.init();
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    String last = "";
    Configuration configuration = null;
    String fault = null;
    for (String line; (line = input.readLine()) != null; ) {
      String[] parts = line.split("\t");
      if (!parts[0].equals(last)) {
        configuration = load(Path.of(parts[0]));
        last = parts[0];
        fault = fault(configuration);
      }
      System.out.println(fault == null ? answer(configuration, parts[1], parts[2]) : fault);
    }
  }

  /** The resources are found by name on a class path that begins with the directory, as theirs. */
  private static Configuration load(Path directory) throws Exception {
    Configuration configuration = new Configuration(false);
    URL[] path = {directory.toUri().toURL()};
    configuration.setClassLoader(new URLClassLoader(path, ReadConfigurations.class.getClassLoader()));
    for (String site : new String[] {"core-default", "core-site", "hdfs-default", "hdfs-site"}) {
      if (site.endsWith("default") || Files.exists(directory.resolve(site + ".xml"))) {
        configuration.addResource(site + ".xml");
      }
    }
    return configuration;
  }

  /** The files are read at the first question; after a failure some of them would count. */
  private static String fault(Configuration from) {
    try {
      from.size();
      return null;
    } catch (Exception error) {
      return "!" + error.getClass().getSimpleName();
    }
  }

  private static String answer(Configuration from, String kind, String name) {
    try {
      Object found = read(from, kind, name);
      if (found == null) {
        return "-";
      }
      byte[] text = found.toString().getBytes(StandardCharsets.UTF_8);
      return "=" + Base64.getEncoder().encodeToString(text);
    } catch (Exception error) {
      return "!" + error.getClass().getSimpleName();
    }
  }

  private static Object read(Configuration from, String kind, String name) {
    switch (kind) {
      case "text":
        return from.getTrimmed(name);
      case "size":
        return from.getLongBytes(name, -7);
      case "integer":
        return from.getInt(name, -7);
      case "boolean":
        return from.getBoolean(name, true);
      case "umask":
        return FsPermission.getUMask(from).toShort();
      default:
        throw new IllegalArgumentException(kind);
    }
  }
}
